"""The model card of a release: Markdown with the YAML header that model hubs read.

Every figure is one of the lock's. What nobody stated or measured is called unknown.
"""

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from framework.core.licenses import hub_identifier, is_unknown, spdx
from framework.core.release import Release, built_from
from framework.report.markdown import escaped
from framework.report.materials import Material, Materials
from framework.report.numbers import formatted, title

_NOT_STATED = "unknown"


def model_card(release: Release, materials: Materials) -> str:
    """Return the card of *release*, which is made of *materials*."""
    header = yaml.safe_dump(_header(release, materials), sort_keys=False, allow_unicode=True)
    sections = {
        "Intended use": _intended_use(release),
        "Data": _data(release, materials),
        "Training": _training(release, materials),
        "Evaluation": _evaluation(release),
        "Limits": _limits(release),
        "License chain": _licenses(materials),
    }
    lines = [f"# {escaped(release.name)}", ""]
    for heading, text in sections.items():
        lines += [f"## {heading}", "", *text, ""]
    return f"---\n{header}---\n\n" + "\n".join(lines).rstrip() + "\n"


def card_contradiction(card: str, release: Release) -> str:
    """Return the section of *card* that the lock of *release* does not give; empty if they agree."""
    head = f"\n# {escaped(release.name)}\n"
    section = "\n".join(["## Evaluation", "", *_evaluation(release), ""])
    wrong = {"title": head not in card, "Evaluation": section not in card}
    return ", ".join(name for name, differs in wrong.items() if differs)


def _header(release: Release, materials: Materials) -> dict[str, Any]:
    name = materials.model.license
    header: dict[str, Any] = {}
    if is_unknown(name):
        header["license"] = _NOT_STATED
    elif hub_name := hub_identifier(name or ""):
        header["license"] = hub_name
    else:
        header |= {"license": "other", "license_name": name}
    hub_models = [model.address.repository for model in (materials.model,) if model.address]
    header["base_model"] = hub_models[0] if hub_models else materials.model.name
    header["datasets"] = list(
        dict.fromkeys(data.address.repository if data.address else data.url for data in materials.data)
    )
    header["metrics"] = list(_metrics(release))
    return header


def _intended_use(release: Release) -> list[str]:
    return [
        f"The model's task is {escaped(release.task)}; the engine that runs the published folder is "
        f"{escaped(release.engine)}. What it was made for, and by whom it should not be used, is unknown: "
        "the recipe does not state it.",
    ]


def _data(release: Release, materials: Materials) -> list[str]:
    head = ("source", "digest", "license")
    rows = [(data.url, data.digest or _NOT_STATED, _license(data)) for data in materials.data]
    return [
        *_table(head, rows),
        "",
        f"The prepared rows have the digest `{release.data_digest}`. How they were collected, whom they "
        "describe, and whether they contain personal data is unknown.",
    ]


def _training(release: Release, materials: Materials) -> list[str]:
    model = materials.model
    facts = {
        "base model": f"{model.name}, {model.url}",
        "base model's digest": model.digest or _NOT_STATED,
        "base model's parameters": f"{materials.parameters:,.0f}, as its option states",
        **{f"learned from {teacher.name}": teacher.url for teacher in materials.teachers},
        "recipe": release.recipe,
        "built from": built_from(release),
        "overrides": _NOT_STATED if release.overrides is None else shlex.join(release.overrides) or "none",
        "launcher": materials.launcher,
        "libraries": ", ".join(f"{name} {version}" for name, version in materials.libraries.items())
        or "none",
        **materials.settings,
    }
    lines = [f"- {escaped(name)}: {escaped(value)}" for name, value in facts.items()]
    return [*lines, "- energy, emissions: unknown; they are not measured"]


def _evaluation(release: Release) -> list[str]:
    candidates = dict.fromkeys(("base", "tuned", *release.released))
    names = [name if name not in release.released else f"released ({name})" for name in candidates]
    rows = []
    for metric in _metrics(release):
        values = [release.metrics.get(f"{candidate}.{metric}") for candidate in candidates]
        bounds = [
            f"{candidate} {bound}"
            for candidate in candidates
            if (bound := release.gates.get(f"{candidate}.{metric}"))
        ]
        shown = ["-" if value is None else formatted(metric, value) for value in values]
        rows.append((title(metric), *shown, ", ".join(bounds) or "none"))
    if not rows:
        return ["Nothing was measured."]
    return [
        *_table(("metric", *names, "bound"), rows),
        "",
        "Quality was measured on held-out rows of the data above, after one training; speed and memory on "
        "the machine that built it. A dash is not measured. How values vary between trainings is unknown.",
    ]


def _limits(release: Release) -> list[str]:
    lines = [
        "- The figures hold for rows like those of the data; quality on others is unknown.",
        "- Bias, safety and robustness were not evaluated, so they are unknown.",
    ]
    if not release.gates:
        lines.append("- No bound was set, so no figure had to be reached.")
    if release.changed:
        lines.append("- It was built from files that no commit has, so Git alone does not give it.")
    if release.changed is None:
        lines.append("- Whether a commit has all files that it was built from is unknown.")
    return lines


def _licenses(materials: Materials) -> list[str]:
    parts = [("base model", materials.model), *(("learned from", model) for model in materials.teachers)]
    parts += [("data", data) for data in materials.data]
    lines = [f"- {role} {escaped(part.name)}: {escaped(_license(part))}" for role, part in parts]
    lines += [
        f"- accepted with what it forbids: {escaped(spdx(name) or name)}" for name in materials.accepted
    ]
    return [*lines, "", "The tuned model is bound by all of them. A license of its own is not stated."]


def _license(part: Material) -> str:
    if part.license is None or is_unknown(part.license):
        return _NOT_STATED
    return spdx(part.license) or part.license


def _metrics(release: Release) -> dict[str, None]:
    """Return the metrics of the base, the tuned and the released model by name, bounded ones first."""
    shown = {"base", "tuned", *release.released}
    names = (name.partition(".") for name in release.metrics)
    bounded = {name.partition(".")[2] for name in release.gates}
    found = {metric for candidate, _, metric in names if candidate in shown}
    return dict.fromkeys(sorted(found, key=lambda metric: (metric not in bounded, metric)))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [[escaped(cell) for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return [f"| {' | '.join(line)} |" for line in lines]
