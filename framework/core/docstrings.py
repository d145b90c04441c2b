"""The docstrings below a model's fields, read from the source when something shows them.

pydantic's ``use_attribute_docstrings`` reads them when a class is defined, in every process: that was a
quarter of the time of ``run plan``.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema


@functools.cache
def field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring below each field of *model*, those of its bases included, by field name."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            for name, text in _own(base).items():
                found.pop(name, None)
                if text is not None:
                    found[name] = text
    return found


def described_schema(
    model: type[BaseModel], core: CoreSchema, handler: GetJsonSchemaHandler
) -> dict[str, Any]:
    """Return *model*'s JSON Schema with the docstrings of its fields: a ``__get_pydantic_json_schema__``."""
    schema = handler(core)
    properties = handler.resolve_ref_schema(schema).get("properties", {})
    for name, text in field_docstrings(model).items():
        if name in properties:
            properties[name].setdefault("description", text)
    return schema


def _own(model: type[BaseModel]) -> dict[str, str | None]:
    """Return each field that *model* itself declares, with the docstring below it."""
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except (OSError, TypeError):  # it was made by a call, without source
        return {}
    (definition,) = ast.parse(source).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    fields: dict[str, str | None] = {}
    for number, statement in enumerate(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields[statement.target.id] = _text(body[number + 1 : number + 2])
    return fields


def _text(following: list[ast.stmt]) -> str | None:
    match following:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return inspect.cleandoc(text)
    return None
