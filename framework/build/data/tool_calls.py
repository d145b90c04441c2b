"""Read tool definitions and tool calls in the forms in which people have them, as OpenAI's form.

Arrow gives every object of a column the same keys and fills those that an object lacks with null, so a
null in a structure says nothing and is left out. JSON text is stored as it was written: a null in it is
the author's, and stays.
"""

from collections.abc import Mapping
from typing import Any

from framework.build.data.row_values import is_missing, kind_of, parse_json, require_objects
from framework.core.errors import DataError


def read_tools(value: Any, name: str) -> list[dict[str, Any]]:
    """Return tool definitions; *value* is a list of objects, or JSON text of one.

    A bare ``{"name": …, "parameters": …}`` is wrapped as OpenAI's ``{"type": "function", "function": …}``,
    the form that a server gets and chat templates expect.

    Raises:
        DataError: it is neither.
    """
    return [_wrapped(tool) for tool in _objects(value, name)]


def read_calls(value: Any, label: str) -> list[dict[str, Any]]:
    """Return the calls of a turn's ``tool_calls``; arguments become an object, as templates expect.

    Raises:
        DataError: a call has no function's name, or its arguments are not a JSON object.
    """
    calls = []
    for call in _objects(value, f"tool_calls in {label}"):
        if not isinstance(function := call.get("function"), Mapping):
            raise DataError(f"each of tool_calls in {label} needs 'function' with 'name' and 'arguments'")
        calls.append({**call, **_call(function, f"tool_calls in {label}")})
    return calls


def read_function_call(value: Any, label: str) -> list[dict[str, Any]]:
    """Return ``{"name": …, "arguments": …}`` as calls: ShareGPT's turn and OpenAI's deprecated key.

    *value* is an object or JSON text; the text may hold a list, for several calls at once.

    Raises:
        DataError: it is neither, or the arguments are not a JSON object.
    """
    name = f"function_call in {label}"
    functions = parse_json(value, name) if isinstance(value, str) else without_nulls(value)
    functions = functions if isinstance(functions, list) else [functions]
    return [_call(function, name) for function in functions]


def without_nulls(value: Any) -> Any:
    """Return *value* without the keys of objects that are null, at any depth.

    Items of lists stay: Arrow adds none, and JSON Schema's ``enum`` may name null.

    >>> without_nulls({"city": "Oslo", "expr": None, "days": [1, None]})
    {'city': 'Oslo', 'days': [1, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    items = parse_json(value, name) if isinstance(value, str) else without_nulls(value)
    if isinstance(items, list):
        items = [parse_json(item, name) if isinstance(item, str) else item for item in items]
    return require_objects(items, name)


def _wrapped(tool: dict[str, Any]) -> dict[str, Any]:
    if "name" not in tool or tool.get("type", "function") != "function":
        return tool
    return {"type": "function", "function": {key: item for key, item in tool.items() if key != "type"}}


def _call(function: Any, name: str) -> dict[str, Any]:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"each of {name} needs 'name' and 'arguments'")
    arguments = function.get("arguments")
    of = f"the arguments of {function['name']} in {name}"
    if is_missing(arguments):  # a call without arguments
        arguments = {}
    elif isinstance(arguments, str):
        arguments = parse_json(arguments, of)
    if not isinstance(arguments, Mapping):
        raise DataError(f"{of} must be an object, not {kind_of(arguments)}")
    named = {**function, "name": function["name"], "arguments": dict(arguments)}
    first = ("name", "arguments")
    ordered = {key: named[key] for key in (*first, *(key for key in named if key not in first))}
    return {"type": "function", "function": ordered}
