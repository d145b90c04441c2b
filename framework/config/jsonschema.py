"""The config as JSON Schema, so that an editor completes and checks a recipe while it is typed.

Every option of a group is one alternative of that group's key. A recipe gives only what it changes,
so nothing is required.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from framework.config.schema import GROUPS, Config
from framework.core.component import TARGET, Component
from framework.core.paths import SHARE

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def options(group: str, roots: tuple[Path, ...]) -> dict[str, type[Component]]:
    """Return the class of every option of *group* below ``<root>/conf``, by option name.

    Earlier roots win, as they do when Hydra composes.
    """
    found: dict[str, type[Component]] = {}
    for root in roots:
        for file in sorted((root / "conf" / group).glob("*.yaml")):
            module, _, name = yaml.safe_load(file.read_text(encoding="utf-8"))[TARGET].rpartition(".")
            found.setdefault(file.stem, getattr(import_module(module), name))
    return found


def schema_text(roots: tuple[Path, ...] | None = None) -> str:
    """Return the JSON Schema of a recipe: two spaces, sorted keys, one final newline."""
    roots = roots or tuple(dict.fromkeys([Path.cwd().resolve(), SHARE.resolve()]))
    by_group = {group: options(group, roots) for group in GROUPS}
    classes = {cls for chosen in by_group.values() for cls in chosen.values()}
    models = [(model, "validation") for model in sorted({*classes, Config}, key=lambda c: c.__name__)]
    references, definitions = models_json_schema(models, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    names = {model: reference["$ref"] for (model, _), reference in references.items()}
    root = definitions["$defs"].pop(names[Config].removeprefix("#/$defs/"))  # type: ignore[index]
    for definition in definitions["$defs"].values():
        definition.pop("required", None)
    for model in classes:
        definition = definitions["$defs"][names[model].removeprefix("#/$defs/")]  # type: ignore[index]
        definition["properties"] = {**definition.get("properties", {}), TARGET: {"type": "string"}}
    properties = dict(root["properties"])
    for group, chosen in by_group.items():
        properties[group] = {
            "anyOf": [{"$ref": reference} for reference in sorted({names[cls] for cls in chosen.values()})],
            "description": f"Options: {', '.join(sorted(chosen))}.",
        }
    schema: dict[str, Any] = {
        "$schema": DRAFT,
        "title": "Gitune recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {"defaults": _defaults(by_group), "hydra": {"type": "object"}, **properties},
        "$defs": definitions["$defs"],
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _defaults(by_group: dict[str, dict[str, type[Component]]]) -> dict[str, Any]:
    overrides = {f"override /{group}": {"enum": sorted(chosen)} for group, chosen in by_group.items()}
    listed = {
        "type": "object",
        "properties": overrides,
        # Another recipe that is extended, an option of a plugin's own group, or one of Hydra's.
        "additionalProperties": {"type": "string"},
    }
    return {
        "type": "array",
        "description": "Options that this recipe chooses, and recipes that it extends.",
        "items": {"anyOf": [{"const": "_self_"}, {"type": "string"}, listed]},
    }
