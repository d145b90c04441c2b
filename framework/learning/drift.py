"""``run drift``: whether users ask, or a model answers, differently from before.

Current are the newest rows of one release. The reference is a recipe's rows, another log, or the rows before.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import islice

from framework.config.compose_config import composed
from framework.config.load import load
from framework.core.errors import ConfigError, GateError
from framework.gitops.arguments import choice, parse_arguments
from framework.learning.log_rows import Row, number, read_requests, write_json
from framework.requestlog.drift import LEAST, Drift, Reference, Sample
from framework.requestlog.samples import sample_of, training_sample

MOST = 20_000
"""Most rows of a recipe that are read."""
_OPTIONAL = {
    **{"reference": "", "digest": "", "days": "7", "psi": "0.2", "sigmas": "2", "unseen": "0.2"},
    **{"bad_in_a_row": "10", "check": "false", "json": ""},
}


def drift(words: Sequence[str]) -> None:
    """Print how far the newest requests are from a reference, and write it as JSON.

    Raises:
        ConfigError: an argument is invalid, or the config is.
        GateError: with ``check=true``, something is above its bound.
        SourceError: there is no log.
    """
    own = [word for word in words if word.partition("=")[0] in ("log", *_OPTIONAL)]
    recipe = [word for word in words if word not in own]
    arguments = parse_arguments("drift", own, ("log",), _OPTIONAL)
    checks = choice("check", arguments["check"], ("true", "false")) == "true"
    bounds = {key: number(key, arguments[key], 0) for key in ("psi", "sigmas", "unseen", "bad_in_a_row")}
    rows = read_requests(arguments["log"])
    digest = _digest(rows, arguments["digest"])
    start = rows[-1]["time"] - timedelta(days=number("days", arguments["days"], 0))
    current = [row for row in rows if row["digest"] == digest and row["time"] > start]
    source, reference = _reference(arguments["reference"], recipe, rows, current)
    samples = [sample_of(row) for row in current]
    found = Reference(reference).compare(samples)
    print(f"{len(samples)} requests to {digest[:19]}, beside {len(reference)} {source}")
    if found is None:
        raise ConfigError(f"drift needs {LEAST} samples on each side; set days=, or log more requests")
    above = _print_table(found, bounds)
    content = {"digest": digest, "metrics": found.metrics(), "above": above, "reference": source}
    write_json(arguments["json"], content | {"requests": len(samples)})
    if checks and above:
        raise GateError(f"drift: {', '.join(above)} above the bound; see docs/observability.md")


def _digest(rows: Sequence[Row], asked: str) -> str:
    """Return the release that is looked at: the one asked for by its first digits, or the newest row's."""
    wanted = asked.removeprefix("sha256:")
    found = [row["digest"] for row in rows if row["digest"].removeprefix("sha256:").startswith(wanted)]
    if not found:
        raise ConfigError(f"command line 'digest={asked}': the log has no request to that release")
    return str(found[-1])


def _reference(
    log: str, recipe: Sequence[str], rows: Sequence[Row], current: Sequence[Row]
) -> tuple[str, list[Sample]]:
    """Return what the reference is, in words, and its samples."""
    if log and recipe:
        raise ConfigError("command line: give either a recipe or reference=<log>, not two references")
    if log:
        return f"requests in {log}", [sample_of(row) for row in read_requests(log)]
    if not recipe:
        first = current[0]["time"] if current else rows[-1]["time"]
        return "earlier requests", [sample_of(row) for row in rows if row["time"] < first]
    from framework.build.data.row_formats import read_row
    from framework.core.errors import DataError

    data = load(composed(recipe)).data
    samples = []
    for line in islice(data.read("train"), MOST):
        if line.problem is not None:
            continue
        try:
            row, _ = read_row(line.raw, (*data.ignore, *line.ignore))
        except DataError:
            continue  # reading reports it when the recipe is built
        if (sample := training_sample(row)) is not None:
            samples.append(sample)
    return "training rows", samples


def _print_table(found: Drift, bounds: dict[str, float]) -> list[str]:
    """Print every number beside its bound; return the names of those above it."""
    above = []
    for name, value in found.metrics().items():
        kind = next(key for key in ("psi", "sigmas", "unseen", "bad_in_a_row") if f"drift.{key}" in name)
        is_above = value >= bounds[kind] if kind == "bad_in_a_row" else value > bounds[kind]
        above += [name] if is_above else []
        print(f"  {name:26} {value:8.3f}   bound {bounds[kind]:g}{'   above' if is_above else ''}")
    return above
