"""Read the JSON body of a request.

Unsupported fields that would change the answer are rejected, never ignored.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from framework.core.docstrings import described_schema
from framework.serving.api_error import ApiError
from framework.serving.limits import count_characters as count_characters

Body = TypeVar("Body", bound=BaseModel)


def _boolean(value: Any) -> Any:
    """Refuse 0 and 1, which ``Literal`` takes for booleans because Python compares them as equal."""
    if value is None or isinstance(value, bool):
        return value
    raise PydanticCustomError("bool_type", "Input should be a valid boolean")


OnlyFalse = Annotated[Literal[False], BeforeValidator(_boolean)]
OnlyTrue = Annotated[Literal[True], BeforeValidator(_boolean)]


class StrictBody(BaseModel):
    """A body, or a part of it, without unknown fields and without conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe each field by the docstring below it."""
        return described_schema(cls, core, handler)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        """Read 1.0 as 1: JSON has one kind of number, and a whole one is an integer."""
        if not isinstance(values, dict):
            return values
        return {key: _whole_numbers(value) for key, value in values.items()}


def _whole_numbers(value: Any) -> Any:
    """Return a number, or the numbers of a list, with whole ones as integers."""
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_request(kind: type[Body], raw: bytes) -> Body:
    """Read a request's body.

    Raises:
        ApiError: 400, with the first problem.
    """
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ApiError(400, f"Unrecognized request argument supplied: {where}", param=where) from None
        if not where:
            raise ApiError(400, f"The body is not a JSON object: {first['msg']}") from None
        raise ApiError(400, f"{where}: {first['msg']}", param=where) from None
