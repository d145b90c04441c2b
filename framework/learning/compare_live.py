"""``run compare-live``: two releases that serve side by side, by what their users said and what was logged.

Shadow and A/B logs are compared alike: the groups are the digests of the answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from framework.core.errors import ConfigError
from framework.gitops.arguments import parse_arguments
from framework.learning.log_rows import Row, number, read_feedback, read_requests, write_json
from framework.requestlog import version_of
from framework.requestlog.comparison import Difference, Metric, Moments, differences

_OPTIONAL = {"other": "", "a": "", "b": "", "alpha": "0.05", "json": ""}
_SHARES = ("completed", "converted")


def compare_live(words: Sequence[str]) -> None:
    """Print the differences of two releases with their confidence, and whether to go on.

    Raises:
        ConfigError: an argument is invalid, or the log has not two releases.
        SourceError: there is no log.
    """
    arguments = parse_arguments("compare-live", words, ("log",), _OPTIONAL)
    alpha = number("alpha", arguments["alpha"], 1e-6)
    if alpha >= 1:
        raise ConfigError(f"command line 'alpha={arguments['alpha']}': give a probability below 1")
    logs = list(dict.fromkeys(url for url in (arguments["log"], arguments["other"]) if url))
    requests = [row for url in logs for row in read_requests(url)]
    feedback = [row for url in logs for row in read_feedback(url)]
    a, b = _two(requests, arguments["a"], arguments["b"])
    found = differences(_metrics(requests, feedback, a, b), alpha)
    verdict = _verdict(found)
    _print_table(a, b, found, alpha)
    print(verdict)
    content = {"a": a, "b": b, "alpha": alpha, "verdict": verdict}
    write_json(arguments["json"], content | {"metrics": {each.metric.name: _told(each) for each in found}})


def _two(requests: Iterable[Row], first: str, second: str) -> tuple[str, str]:
    """Return the two digests: those asked for by their first digits, or the log's two, the older first."""
    known = list(dict.fromkeys(row["digest"] for row in sorted(requests, key=lambda row: row["time"])))
    if not (first or second):
        if len(known) == 2:
            return known[0], known[1]
        listed = ", ".join(version_of(digest) for digest in known)
        raise ConfigError(
            f"the log has {len(known)} releases ({listed}); name two with a=<digest> b=<digest>"
        )
    chosen = []
    for key, asked in (("a", first), ("b", second)):
        found = [digest for digest in known if asked and version_of(digest).startswith(version_of(asked))]
        if len(found) != 1:
            listed = ", ".join(version_of(digest) for digest in known)
            raise ConfigError(f"command line '{key}={asked}': should be the first digits of one of {listed}")
        chosen += found
    return chosen[0], chosen[1]


def _metrics(requests: Sequence[Row], feedback: Sequence[Row], a: str, b: str) -> list[Metric]:
    """Return what both groups were measured by; a metric that a group has nothing of is left out."""
    said = [_last_by_answer(feedback, version_of(digest)) for digest in (a, b)]
    rows = [[row for row in requests if row["digest"] == digest] for digest in (a, b)]
    metrics = [_of_mean("rating", said, more_is_better=True)]
    metrics += [_of_share(name, said, more_is_better=True) for name in _SHARES]
    judged = [[{"bad": row["bad"] is not None} for row in group] for group in rows]
    metrics.append(_of_share("bad", judged, more_is_better=False))
    metrics.append(_of_mean("seconds", rows, more_is_better=False))
    return [metric for metric in metrics if metric.a.count and metric.b.count]


def _of_share(name: str, groups: Sequence[Sequence[Row]], *, more_is_better: bool) -> Metric:
    answers = [[bool(row[name]) for row in group if row[name] is not None] for group in groups]
    a, b = (Moments.of_share(sum(group), len(group)) for group in answers)
    return Metric(name, a, b, True, more_is_better)


def _of_mean(name: str, groups: Sequence[Sequence[Row]], *, more_is_better: bool) -> Metric:
    a, b = (Moments.of(float(row[name]) for row in group if row[name] is not None) for group in groups)
    return Metric(name, a, b, False, more_is_better)


def _last_by_answer(feedback: Iterable[Row], version: str) -> list[Row]:
    """Return what was said about a version; of several reports on one answer, the last of each field."""
    joined: dict[str, Row] = {}
    for number_, row in enumerate(feedback):
        if row["version"] == version:
            news = {key: value for key, value in row.items() if value is not None}
            joined.setdefault(row["id"] or f"#{number_}", dict.fromkeys(row)).update(news)
    return list(joined.values())


def _verdict(found: Sequence[Difference]) -> str:
    """Return what to do, in one line."""
    by = {verdict: [each.metric.name for each in found if each.verdict == verdict] for verdict in _VERDICTS}
    if by["worse"]:
        return f"stop: b is worse in {', '.join(by['worse'])}"
    if by["better"]:
        return f"stop: b is better in {', '.join(by['better'])}"
    return "go on: nothing is decided"


_VERDICTS = ("worse", "better", "undecided")


def _told(each: Difference) -> Mapping[str, Any]:
    metric = each.metric
    return {
        "a": metric.a.mean,
        "b": metric.b.mean,
        "answers": [metric.a.count, metric.b.count],
        "interval": each.interval,
        "always_valid": each.always,
        "verdict": each.verdict,
    }


def _print_table(a: str, b: str, found: Sequence[Difference], alpha: float) -> None:
    print(f"a {version_of(a)}, b {version_of(b)}; differences b - a")
    share = f"{100 * (1 - alpha):g}%"
    print(f"  {'':12} {'a':>9} {'b':>9}  {'answers':>13}  {share + ', one look':>20}  {'at every look':>20}")
    for each in found:
        metric = each.metric
        answers = f"{metric.a.count}, {metric.b.count}"
        line = f"  {metric.name:12} {metric.a.mean:9.3f} {metric.b.mean:9.3f}  {answers:>13}"
        print(f"{line}  {_range(each.interval)}  {_range(each.always)}  {each.verdict}")


def _range(interval: tuple[float, float] | None) -> str:
    text = "too few answers" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
    return f"{text:>20}"
