"""The options of the fallback."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.serving.outbound.address import Address


class FallbackOptions(Component):
    """Who answers a conversation that the server sheds, or whose engine fails before the first token.

    Either a fixed ``text``, or the ``model`` at ``url``.
    """

    text: Annotated[str, Field(min_length=1)] | None = None
    """The answer to every such request, such as ``Please try again in a minute.``"""
    url: Address | None = None
    """An OpenAI-compatible endpoint, such as ``https://models.example.com/v1``, or the name of the
    environment variable that holds it."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """The model to ask there, such as a smaller one."""
    key: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    """The name of the environment variable with the API key for ``url``."""
    seconds: Annotated[float, Field(gt=0, le=600)] = 10
    """Longest time until an answer of the model there begins, which is tried three times, and between two
    pieces of it."""

    @model_validator(mode="after")
    def _is_one(self) -> "FallbackOptions":
        if (self.text is None) == (self.url is None):
            raise PydanticCustomError("fallback", "give either 'text', or 'url' and 'model'")
        if (self.url is None) != (self.model is None):
            raise PydanticCustomError("fallback", "'url' and 'model' belong together")
        return self
