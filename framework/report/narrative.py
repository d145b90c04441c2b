"""What the report says in words: what came out, where it is from, and what candidates answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.report.facts import Candidate, Facts
from framework.report.numbers import less_is_better, ratio, title, written
from framework.report.tables import Pool


@dataclass(frozen=True)
class Answered:
    """One held-out row with the answers of all candidates."""

    prompt: str
    expected: str
    answers: Sequence[tuple[str, str, bool]]
    """Candidate, answer, and whether it is the expected one."""


def heading(facts: Sequence[Facts]) -> str:
    """Return the page's title."""
    if len(facts) == 1:
        return f"{facts[0].name}: what was built and how good it is"
    return f"{len(facts)} recipes compared"


def outcome(facts: Facts) -> str:
    """Return in a sentence or two what came out."""
    named = {candidate.name: candidate for candidate in facts.candidates}
    broken = [verdict for verdict in facts.verdicts if not verdict.passed]
    if broken:
        said = "; ".join(
            f"{one.metric} is {'not measured' if one.value is None else format(one.value, 'g')}, "
            f"the bound is {one.bound}"
            for one in broken
        )
        return f"Nothing is released: {broken[0].gate} stopped the plan, because {said}."
    shipped = named.get(facts.shipped)
    if shipped is None:
        return f"{facts.shipped} is released."
    quality = next((name for name in facts.quality if name in shipped.metrics), None)
    parts = [_quality(quality, shipped, named)] if quality else []
    if (tuned := named.get("tuned")) is not None and tuned is not shipped:
        parts += _gains(shipped, tuned)
    passed = f" All {len(facts.verdicts)} bounds are kept." if facts.verdicts else ""
    return f"{facts.shipped} is released: {', '.join(parts)}.{passed}"


def _quality(metric: str, shipped: Candidate, named: dict[str, Candidate]) -> str:
    others = [name for name in ("base", "tuned") if name in named and metric in named[name].metrics]
    compared = " and ".join(f"{name} {written(metric, named[name].metrics[metric])}" for name in others)
    against = f" (against {compared})" if compared else ""
    return f"{title(metric)} {written(metric, shipped.metrics[metric])}{against}"


def _gains(shipped: Candidate, tuned: Candidate) -> list[str]:
    found = []
    for metric in ("decode_tokens_per_second", "rows_per_second", "size_bytes"):
        if metric in shipped.metrics and tuned.metrics.get(metric):
            times = ratio(shipped.metrics[metric], tuned.metrics[metric])
            found.append(
                f"{times} {'as large' if less_is_better(metric) else f'the {title(metric)}'} as tuned"
            )
    return [text.replace("as large as", "the size of").replace("/s as", "/s of") for text in found]


def origin(facts: Facts) -> list[tuple[str, str]]:
    """Return where the release is from: names and values."""
    found = [("recipe", facts.recipe), ("task", facts.task)]
    release = facts.release
    if release is None:
        return [*found, ("release", "none; a gate stopped the plan")]
    return [
        *found,
        ("base model", f"{release.base_model} ({release.base_model_license})"),
        ("commit", release.commit or "none: the folder is not in Git"),
        ("data", release.data_digest),
        ("model", release.digest),
        ("lies in", release.model_uri),
        ("runs on", release.engine),
    ]


def examples(facts: Sequence[Facts], pooled: Pool) -> list[Answered]:
    """Return every example row once, with the answers of the candidates of all recipes."""
    names = {}
    for number, each in enumerate(facts):
        for candidate in each.candidates:
            shown = _shown(candidate, pooled)
            names[number, candidate.name] = shown.name if shown else candidate.name
    found: dict[tuple[str, str], dict[str, str]] = {}
    for number, each in enumerate(facts):
        for example in each.examples:
            answers = found.setdefault((example.prompt, example.expected), {})
            for candidate_name, answer in example.answers:
                answers.setdefault(names.get((number, candidate_name), candidate_name), answer)
    return [
        Answered(
            prompt,
            expected,
            [(name, answer, answer.strip() == expected.strip()) for name, answer in answers.items()],
        )
        for (prompt, expected), answers in found.items()
    ]


def _shown(candidate: Candidate, pooled: Pool) -> Candidate | None:
    """Return the row of the table that stands for *candidate*."""
    alike = (other for other in pooled.candidates if other.key == candidate.key)
    return next((other for other in alike if other.name.endswith(candidate.name)), None)
