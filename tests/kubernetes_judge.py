"""Judge rendered objects as an API server would, without a cluster.

    python tests/kubernetes_judge.py environments tests/golden

Core kinds are validated strictly by kubernetes-validate. Custom kinds are validated by the CRD schemas in
``data/crd-schemas``: defaults first, then JSON Schema, unique list keys and CEL rules. Kinds without a
schema are reported as problems. Not judged: admission webhooks, references between objects, quotas.
"""

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cel
import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parent / "data" / "crd-schemas"
KUBERNETES = "1.37"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CustomKind:
    """The schema of one version of a custom resource."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)

    def problems(self, manifest: dict[str, Any]) -> list[str]:
        filled = self.with_defaults(manifest)
        errors = [f"{error.json_path}: {error.message}" for error in self.validator.iter_errors(filled)]
        return errors or list(self._violations(filled, self.schema, "$"))

    def with_defaults(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Return *manifest* as the API server stores it."""
        return self._with_defaults(manifest, self.schema)

    def _definition(self, node: Any) -> dict[str, Any]:
        while isinstance(node, dict) and "$ref" in node:
            node = self.schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return node if isinstance(node, dict) else {}

    def _child(self, node: dict[str, Any], key: str) -> dict[str, Any]:
        return self._definition(node.get("properties", {}).get(key, node.get("additionalProperties")))

    def _with_defaults(self, value: Any, node: dict[str, Any]) -> Any:
        node = self._definition(node)
        if isinstance(value, list):
            return [self._with_defaults(item, node.get("items", {})) for item in value]
        if not isinstance(value, dict):
            return value
        defaults = {
            key: child["default"]
            for key, raw in node.get("properties", {}).items()
            if "default" in (child := self._definition(raw))
        }
        return {
            key: self._with_defaults(item, self._child(node, key)) for key, item in (defaults | value).items()
        }

    def _violations(self, value: Any, node: dict[str, Any], path: str) -> Iterator[str]:
        node = self._definition(node)
        if value is None:
            return
        for rule in node.get("x-kubernetes-validations", []):
            is_transition = "oldSelf" in rule["rule"]  # compares an update with what is stored
            if not is_transition and evaluate(rule["rule"], value) is not True:
                yield f"{path}: {rule.get('message', rule['rule'])}"
        if isinstance(value, list):
            if keys := node.get("x-kubernetes-list-map-keys"):
                names = [tuple(item.get(key) for key in keys) for item in value]
                if len(names) != len(set(names)):
                    yield f"{path}: {', '.join(keys)} must be unique"
            for index, item in enumerate(value):
                yield from self._violations(item, node.get("items", {}), f"{path}[{index}]")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._violations(item, self._child(node, key), f"{path}.{key}")


@functools.cache
def custom_kind(api_version: str, kind: str) -> CustomKind | None:
    file = SCHEMAS / f"{api_version.replace('/', '_')}_{kind}.json"
    return CustomKind(json.loads(file.read_text())) if file.is_file() else None


_compile = functools.cache(cel.compile)
_FUNCTIONS = {
    "getEscapedPath": lambda url: url["path"],
    "getHost": lambda url: url["host"],
    "getScheme": lambda url: url["scheme"],
    "isURL": lambda text: bool(urlsplit(text).scheme or text.startswith("/")),
    "lowerAscii": str.lower,
    "split": lambda text, separator, count=-1: text.split(separator),
    "substring": lambda text, start, end=None: text[start:end],
    "trim": str.strip,
    "url": lambda text: dict(zip(("scheme", "host", "path"), urlsplit(text)[:3], strict=True)),
}
"""Functions that Kubernetes adds to CEL, as far as the schemas use them."""


def evaluate(rule: str, value: Any) -> Any:
    context = cel.Context()
    context.add_variable("self", value)
    for name, function in _FUNCTIONS.items():
        context.add_function(name, function)
    return _compile(rule).execute(context)


def problems_of(manifest: dict[str, Any]) -> list[str]:
    """Return what an API server would refuse in one object; empty if nothing."""
    if missing := [key for key in ("apiVersion", "kind", "metadata") if key not in manifest]:
        return [f"{key} is missing" for key in missing]
    if (kind := custom_kind(manifest["apiVersion"], manifest["kind"])) is not None:
        return kind.problems(manifest)
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"no schema for {manifest['apiVersion']} {manifest['kind']}"]
    return []


def judge(*paths: Path) -> tuple[int, list[str]]:
    """Return how many objects were judged below *paths*, and a line for each problem."""
    files = [file for path in paths for file in (sorted(path.rglob("*.yaml")) if path.is_dir() else [path])]
    count, problems = 0, []
    for file in files:
        for manifest in yaml.load_all(file.read_text(), Loader=_LOADER):
            count += 1
            problems += [f"{file}: {problem}" for problem in problems_of(manifest)]
    return count, problems


if __name__ == "__main__":
    judged, found = judge(*map(Path, sys.argv[1:]))
    print(*found, f"{judged} objects judged, {len(found)} problems", sep="\n")
    sys.exit(1 if found or not judged else 0)
