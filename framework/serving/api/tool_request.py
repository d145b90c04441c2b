"""Tools of a request: what may be called, and whether something must be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from framework.build.data.tool_calls import read_tools
from framework.core.errors import DataError
from framework.serving.api.body import StrictBody
from framework.serving.api.sampling_request import schema_text
from framework.serving.api_error import ApiError


class _Name(StrictBody):
    name: str


class NamedChoice(StrictBody):
    """The function that must be called, as the chat endpoint writes it."""

    type: Literal["function"]
    function: _Name


class _Allowed(StrictBody):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedChoice(StrictBody):
    """The functions that may, or must, be called."""

    type: Literal["allowed_tools"]
    allowed_tools: _Allowed


ToolChoice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice


@dataclass(frozen=True)
class Calls:
    """Which functions an answer may call; the engine's process reads it as JSON."""

    names: tuple[str, ...]
    required: bool
    parallel: bool
    """Whether it may have several calls."""

    def payload(self) -> dict[str, Any]:
        """Return the JSON."""
        return asdict(self)


def read_choice(
    raw: Sequence[dict[str, Any]] | None, choice: ToolChoice | None, parallel: bool
) -> tuple[list[dict[str, Any]], Calls | None]:
    """Return the tools for the chat template, and what may be called; nothing if nothing may be.

    Raises:
        ApiError: 400, a tool is broken or no function, or the choice names none of them.
    """
    tools = _functions(raw) if raw else []
    names = tuple(tool["function"]["name"] for tool in tools)
    if choice == "none":
        return [], None
    wanted, required = names, choice == "required"
    if isinstance(choice, NamedChoice):
        wanted, required = (choice.function.name,), True
    if isinstance(choice, AllowedChoice):
        wanted = tuple(map(_name, choice.allowed_tools.tools))
        required = choice.allowed_tools.mode == "required"
    if unknown := next((name for name in wanted if name not in names), None):
        raise ApiError(400, f"tool_choice names {unknown!r}, which is not in tools", param="tool_choice")
    if required and not wanted:
        raise ApiError(400, "tool_choice requires a call, but there are no tools", param="tool_choice")
    return (tools, Calls(wanted, required, parallel)) if tools else ([], None)


def _functions(raw: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        tools = read_tools(list(raw), "tools")
    except DataError as error:
        raise ApiError(400, str(error), param="tools") from None
    for index, tool in enumerate(tools):
        function = tool.get("function")
        kind = tool.get("type", "function")
        if kind != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ApiError(
                400, f"tools.{index} is of type {kind!r}; only functions can be called", param="tools"
            )
        if not isinstance(parameters := function.get("parameters", {}), dict):
            raise ApiError(400, f"tools.{index}: parameters must be a JSON schema", param="tools")
        schema_text(parameters, "tools")
    return tools


def _name(tool: dict[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name")) if isinstance(function, dict) else ""
