"""The report's sentences: the outcome, the origin of the release, and example answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.core.release import built_from
from framework.report.facts import Candidate, Facts
from framework.report.numbers import formatted, less_is_better, ratio, title
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
        return f"{facts[0].name}: build and evaluation report"
    return f"{len(facts)} recipes compared"


def outcome(facts: Facts) -> str:
    """Return the outcome in a sentence or two."""
    by_name = {candidate.name: candidate for candidate in facts.candidates}
    failed = [verdict for verdict in facts.verdicts if not verdict.passed]
    if failed:
        reasons = "; ".join(
            f"{verdict.metric} is {'not measured' if verdict.value is None else format(verdict.value, 'g')}, "
            f"the bound is {verdict.bound}"
            for verdict in failed
        )
        return f"Nothing is released: {failed[0].gate} stopped the plan, because {reasons}."
    shipped = by_name.get(facts.shipped)
    if shipped is None:
        return f"{facts.shipped} is released."
    quality = next((name for name in facts.quality if name in shipped.metrics), None)
    parts = [_quality(quality, shipped, by_name)] if quality else []
    if (tuned := by_name.get("tuned")) is not None and tuned is not shipped:
        parts += _gains(shipped, tuned)
    passed = f" All {len(facts.verdicts)} bounds are met." if facts.verdicts else ""
    return f"{facts.shipped} is released: {', '.join(parts)}.{passed}"


def _quality(metric: str, shipped: Candidate, by_name: dict[str, Candidate]) -> str:
    others = [name for name in ("base", "tuned") if name in by_name and metric in by_name[name].metrics]
    values = ", ".join(f"{name} {formatted(metric, by_name[name].metrics[metric])}" for name in others)
    compared = f" ({values})" if values else ""
    return f"{title(metric)} {formatted(metric, shipped.metrics[metric])}{compared}"


def _gains(shipped: Candidate, tuned: Candidate) -> list[str]:
    gains = []
    for metric in ("decode_tokens_per_second", "rows_per_second", "size_bytes"):
        if metric in shipped.metrics and tuned.metrics.get(metric):
            times = ratio(shipped.metrics[metric], tuned.metrics[metric])
            gains.append(
                f"{times} {'as large' if less_is_better(metric) else f'the {title(metric)}'} as tuned"
            )
    return [text.replace("as large as", "the size of").replace("/s as", "/s of") for text in gains]


def origin(facts: Facts) -> list[tuple[str, str]]:
    """Return the release's origin as names and values."""
    chosen = [("recipe", facts.recipe), ("task", facts.task)]
    release = facts.release
    if release is None:
        return [*chosen, ("release", "none; a gate stopped the plan")]
    return [
        *chosen,
        ("base model", f"{release.base_model} ({release.base_model_license})"),
        ("built from", built_from(release)),
        ("data", release.data_digest),
        ("model", release.digest),
        ("stored at", release.model_uri),
        ("engine", release.engine),
    ]


def examples(facts: Sequence[Facts], pooled: Pool) -> list[Answered]:
    """Return every example row once, with the answers of the candidates of all recipes."""
    names = {}
    for number, recipe in enumerate(facts):
        for candidate in recipe.candidates:
            shown = _shown(candidate, pooled)
            names[number, candidate.name] = shown.name if shown else candidate.name
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for number, recipe in enumerate(facts):
        for example in recipe.examples:
            answers = rows.setdefault((example.prompt, example.expected), {})
            for candidate_name, answer in example.answers:
                answers.setdefault(names.get((number, candidate_name), candidate_name), answer)
    return [
        Answered(
            prompt,
            expected,
            [(name, answer, answer.strip() == expected.strip()) for name, answer in answers.items()],
        )
        for (prompt, expected), answers in rows.items()
    ]


def _shown(candidate: Candidate, pooled: Pool) -> Candidate | None:
    """Return the pooled candidate that represents *candidate*."""
    same = (other for other in pooled.candidates if other.key == candidate.key)
    return next((other for other in same if other.name.endswith(candidate.name)), None)
