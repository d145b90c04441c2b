"""The config as JSON Schema, with which an editor completes and checks a recipe.

Each option of a group is one alternative of the group's key. A recipe sets only what it changes, so no key is
required.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from framework.config.defaults_schema import Options, chooses, defaults_schema
from framework.config.options import relative
from framework.config.schema import BASES, GROUPS, SEVERAL, Config
from framework.core.component import TARGET, Component
from framework.core.errors import ConfigError
from framework.core.paths import SHARE
from framework.delivery.environment import RECIPE_KEYS, TIGHTER, Environment

_LISTED = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Recipes that are run one after the other; the file has no other key.",
}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def option_classes(group: str, roots: tuple[Path, ...]) -> dict[str, type[Component] | None]:
    """Return the class of every option of *group* below ``<root>/conf``, by option name.

    Earlier roots win, as in Hydra. The class is None for an option that extends another one, and
    ``Component`` for a plugin's, which is not imported.

    Raises:
        ConfigError: an option's file is not YAML, or names a class that does not exist.
    """
    classes: dict[str, type[Component] | None] = {}
    for root in roots:
        for file in sorted((root / "conf" / group).glob("*.yaml")):
            try:
                classes.setdefault(file.stem, _class_in(file))
            except (yaml.YAMLError, ValueError, ImportError, AttributeError) as error:
                why = " ".join(str(error).split())
                raise ConfigError(f"{relative(file)}: cannot be described: {why}") from None
    return classes


def _class_in(file: Path) -> type[Component] | None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    target = str(content.get(TARGET, "")) if isinstance(content, dict) else ""
    module, _, name = target.rpartition(".")
    if not module.startswith("framework."):
        return Component if target else None
    cls: type[Component] = getattr(import_module(module), name)
    return cls


def schema_text(roots: tuple[Path, ...] | None = None) -> str:
    """Return the JSON Schema of a recipe, indented by two spaces, with sorted keys and a final newline."""
    roots = roots or tuple(dict.fromkeys([Path.cwd().resolve(), SHARE.resolve()]))
    by_group = {group: option_classes(group, roots) for group in GROUPS}
    every = [cls for chosen in by_group.values() for cls in chosen.values()]
    described = {cls for cls in every if cls is not None and cls is not Component}
    classes: list[type[Component]] = sorted(described, key=lambda cls: cls.__name__)
    models: list[tuple[type[Component], JsonSchemaMode]] = [(Config, "validation")]
    models += [(cls, "validation") for cls in classes]
    references, definitions = models_json_schema(models, ref_template="#/$defs/{model}")
    names = {model: reference["$ref"] for (model, _), reference in references.items()}
    root = definitions["$defs"].pop(names[Config].removeprefix("#/$defs/"))
    for definition in definitions["$defs"].values():
        definition.pop("required", None)
    for model in classes:
        definition = definitions["$defs"][names[model].removeprefix("#/$defs/")]
        definition["properties"] = {**definition.get("properties", {}), TARGET: {"type": "string"}}
        if issubclass(model, Environment):
            definition["properties"] = _of_recipe(definition["properties"])
    definitions["$defs"]["Source"] = {
        "anyOf": [{"type": "string", "minLength": 1}, definitions["$defs"]["Source"]]
    }
    properties = dict(root["properties"])
    for group, chosen in by_group.items():
        known = sorted({names[cls] for cls in chosen.values() if cls in names})
        anything = [{"type": "object"}] if Component in chosen.values() else []
        described_as = f"Options: {', '.join(sorted(chosen))}."
        option = {
            "anyOf": [*({"$ref": reference} for reference in known), *anything],
            "description": described_as,
        }
        # Parts of a phase or a mix are declared with the group's base class, and accept the same options.
        definitions["$defs"][BASES[group].__name__] = option
        properties[group] = _named(chosen, names, described_as) if group in SEVERAL else option
    schema: dict[str, Any] = {
        "$schema": DRAFT,
        "title": "Gitune recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": defaults_schema(by_group, roots),
            "hydra": {"type": "object"},
            "recipes": _LISTED,
            **properties,
        },
        "allOf": [*_of_chosen(by_group, names)],
        "$defs": definitions["$defs"],
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _of_recipe(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an environment that a recipe may set; the option itself decides all others."""
    kept = {name: described for name, described in properties.items() if name in RECIPE_KEYS}
    for name, value in TIGHTER.items():
        if name in properties:
            kept[name] = {"const": value, "description": properties[name].get("description", "")}
    return kept


def _named(
    chosen: dict[str, type[Component] | None], names: Mapping[Any, str], description: str
) -> dict[str, Any]:
    """Return the schema of a group whose options are configured below their names."""
    own = {name: {"$ref": names[cls]} for name, cls in chosen.items() if cls in names}
    return {
        "type": "object",
        "properties": {name: own.get(name, {"type": "object"}) for name in sorted(chosen)},
        "additionalProperties": False,
        "description": description,
    }


def _of_chosen(by_group: Options, names: Mapping[Any, str]) -> Iterator[dict[str, Any]]:
    """Yield, for every class, that a recipe which chooses its options sets only its keys."""
    for group, known in by_group.items():
        for cls in () if group in SEVERAL else dict.fromkeys(known.values()):
            options_of = sorted(name for name, other in known.items() if other is cls)
            if cls in names:
                yield {
                    "if": chooses(group, options_of),
                    "then": {"properties": {group: {"$ref": names[cls]}}},
                }
