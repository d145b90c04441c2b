"""Forgetting to bump a stage's version is caught.

A cached artifact is only right while the code that made it still writes the same bytes. So
``versions.json`` holds each stage's version, a hash of every module that its bytes depend on, and
the list of those modules. They are found by following ``import framework…`` from the stage's own
module, plus every option of each group that the stage takes. ``framework.core`` is left out: it
moves bytes, checks them and names them, and its own tests hold it to that.

A hash is over the syntax tree without docstrings, so that words and layout may change freely. The
tree is written out by ``shape`` below, since ``ast.dump`` and ``ast.unparse`` differ from one
version of Python to the next.
"""

import ast
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

import framework.build.stages
from framework.core.component import Component, Unkeyed
from framework.core.step import Stage

FILE = Path(__file__).parent / "versions.json"
ROOT = Path(framework.__file__).parent.parent
UPDATE = "GITUNE_UPDATE_GOLDEN=1 pytest tests/golden/test_versions.py"
GROUPS = (
    "data",
    "clean",
    "select",
    "model",
    "tuning",
    "training",
    "parallelism",
    "evaluation",
    "compression",
    "export",
)
ELSEWHERE = ("framework.core", "framework.config", "framework.plan")


def shape(node: Any) -> Any:
    """Return a syntax tree as plain data, without docstrings, positions and what Python only added later."""
    if isinstance(node, list):
        return [shape(item) for item in node if not is_docstring(item)]
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        for name in ("ctx", "kind", "type_comment"):
            fields.pop(name, None)
        if isinstance(node, ast.JoinedStr):  # Python 3.12 leaves empty parts in
            fields["values"] = [part for part in node.values if getattr(part, "value", None) != ""]
        return [type(node).__name__, {name: shape(value) for name, value in sorted(fields.items())}]
    return repr(node)


def is_docstring(node: Any) -> bool:
    """Tell whether a statement is a bare string: a docstring, also one under a field."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def source(module: str) -> Path:
    base = ROOT / Path(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(source(module).read_text(encoding="utf-8"))


def digest(text: ast.Module) -> str:
    return hashlib.sha256(json.dumps(shape(text), sort_keys=True).encode()).hexdigest()


def imported(module: str) -> set[str]:
    """Return the framework's modules that *module* imports, at its top or in a function."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("framework.") and source(name).is_file()}


def below(package: str) -> set[str]:
    folder = source(package).parent
    return {package, *(f"{package}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")}


def option_groups(annotation: Any) -> set[str]:
    """Return the groups whose options a field's type admits."""
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        group = annotation.__module__
        own = {group} if inspect.isabstract(annotation) else set()
        return own.union(*(option_groups(f.annotation) for f in annotation.model_fields.values()))
    return set().union(*(option_groups(part) for part in get_args(annotation)))


def depends_on(stage: type[Stage]) -> list[str]:
    """Return every module that shapes the stage's bytes."""
    found: set[str] = set()
    waiting = {stage.__module__}
    for field in stage.model_fields.values():
        if any(isinstance(mark, Unkeyed) for mark in field.metadata):
            continue
        for group in option_groups(field.annotation):
            waiting |= below(group)
    while waiting:
        module = waiting.pop()
        if module in found or module.startswith(ELSEWHERE):
            continue
        found.add(module)
        waiting |= imported(module)
        if module == "framework.build.engine":
            waiting |= below(module)  # opened by name
    return sorted(found)


def stages() -> dict[str, type[Stage]]:
    found = {}
    for info in pkgutil.iter_modules(framework.build.stages.__path__):
        module = importlib.import_module(f"framework.build.stages.{info.name}")
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, Stage) and kind.__module__ == module.__name__:
                found[kind.name] = kind
    return found


def current() -> dict[str, Any]:
    kinds = stages()
    named = {name: depends_on(kind) for name, kind in sorted(kinds.items())}
    every = sorted({module for modules in named.values() for module in modules})
    return {
        "modules": {module: digest(tree(module)) for module in every},
        "stages": {name: {"modules": named[name], "version": kinds[name].version} for name in named},
    }


def complaint(recorded: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Return what to do, or None where every stage is as it was recorded."""
    lines = []
    for name, stage in found["stages"].items():
        old = recorded["stages"].get(name, {"modules": [], "version": None})
        hashes = (recorded["modules"], found["modules"])
        either = sorted({*old["modules"], *stage["modules"]})
        changed = [module for module in either if hashes[0].get(module) != hashes[1].get(module)]
        if changed and old["version"] == stage["version"]:
            shown = ", ".join(changed)
            lines.append(
                f"{shown} changed: bump the version of stage {name} (now {stage['version']}) and run, "
                f"or record that the bytes stay the same: {UPDATE}"
            )
        elif changed or old["version"] != stage["version"]:
            lines.append(f"stage {name} is new or has another version: record it: {UPDATE}")
    if not lines and recorded != found:
        lines.append(f"a stage or module is gone: record it: {UPDATE}")
    return "\n".join(lines) or None


def test_no_stage_changed_without_its_version() -> None:
    found = current()
    if os.environ.get("GITUNE_UPDATE_GOLDEN"):
        FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    problem = complaint(json.loads(FILE.read_text()), found)
    assert problem is None, problem


def test_every_kind_of_work_is_covered() -> None:
    found = current()
    assert len(found["stages"]) >= 11
    covered = set(found["modules"])
    for group in GROUPS:
        assert below(f"framework.build.{group}") <= covered, group
    assert {
        "framework.build.training.module",
        "framework.build.export.companion_files",
        "framework.build.engine.genai",
    } <= covered
    assert {"framework.build.training.trainer", "framework.build.tuning.lora"} <= {
        *found["stages"]["tune"]["modules"]
    }
    assert "framework.build.export.companion_files" in found["stages"]["merge"]["modules"]
    assert "framework.build.engine.genai" in found["stages"]["evaluate"]["modules"]
    assert not any(module.startswith(ELSEWHERE) for module in covered)
    assert all(stage["version"] >= 1 for stage in found["stages"].values())


def test_changed_module_requires_a_recorded_version() -> None:
    recorded = current()
    changed = json.loads(json.dumps(recorded))
    assert complaint(recorded, changed) is None
    changed["modules"]["framework.build.tuning.lora"] = "another"
    said = complaint(recorded, changed)
    assert said is not None
    assert "framework.build.tuning.lora changed: bump the version of stage tune" in said
    assert "stage merge" in said
    assert "stage data" not in said
    assert "record that the bytes stay the same: GITUNE_UPDATE_GOLDEN=1 pytest" in said
    for name in ("tune", "merge", "reshape", "compress"):  # a compression may train
        changed["stages"][name]["version"] += 1
    said = complaint(recorded, changed)
    assert said is not None
    assert "bump" not in said
    assert said.count("record it") == 4


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Other words."""\ndef f(a: int = 1) -> int:\n    return a + 2\n', True),
        ("# a comment\ndef f(a: int = 1) -> int:\n\n    'doc'\n    return (a +\n  2)\n", True),
        ("def f(a: int = 1) -> int:\n    return a + 3\n", False),
        ("def f(a: int = 2) -> int:\n    return a + 2\n", False),
        ("def f(a: int = 1) -> int:\n    return a + 2.0\n", False),
        ("def f(*, a: int = 1) -> int:\n    return a + 2\n", False),
    ],
)
def test_docstrings_and_comments_do_not_change_the_hash(text: str, same: bool) -> None:
    before = ast.parse("def f(a: int = 1) -> int:\n    return a + 2\n")
    assert (digest(ast.parse(text)) == digest(before)) is same


def test_hash_does_not_depend_on_the_python_version() -> None:
    """Worked out with Python 3.11; newer ones must agree, or every version would need its own file."""
    text = "class A:\n    x: int = 1\n    def f(self, *, b=None): return f'{self.x!r:>{10}} {b}' 'tail'\n"
    assert digest(ast.parse(text)) == "2a75a5d4c9d60c265802380241e25ecd2bd0935479c77909a9aef4fb2129ecf6"
