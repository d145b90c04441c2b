"""What schemas and the reference say of a field is the docstring below it."""

from typing import Annotated

from pydantic import Field, create_model

from framework.core.component import Component
from framework.core.docstrings import field_docstrings


class Part(Component):
    size: int = 1
    """Rows of the table.

    One for each example.
    """
    name: str = ""
    kind: str = ""
    """Replaced."""


class Whole(Part):
    part: Part = Part()
    """The part."""
    kind: str = "whole"
    told: Annotated[int, Field(description="Explicit.")] = 1
    """Not this."""

    @property
    def other(self) -> int:
        """No field."""
        return 1


def test_docstring_describes_its_field_and_those_of_subclasses():
    assert field_docstrings(Part) == {
        "size": "Rows of the table.\n\nOne for each example.",
        "kind": "Replaced.",
    }
    assert [*field_docstrings(Whole)] == ["size", "part", "told"]
    schema = Whole.model_json_schema()
    properties = schema["properties"]
    described = {name: field.get("description") for name, field in properties.items()}
    assert described == {
        "size": "Rows of the table.\n\nOne for each example.",
        "name": None,
        "kind": None,
        "part": "The part.",
        "told": "Explicit.",
    }
    assert schema["$defs"]["Part"]["properties"]["kind"]["description"] == "Replaced."


def test_class_without_source_has_none_of_its_own():
    assert field_docstrings(create_model("Made", __base__=Part, more=(int, 1))) == field_docstrings(Part)
