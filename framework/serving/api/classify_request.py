"""The body of ``POST /v1/classify``."""

from typing import Annotated

from pydantic import Field

from framework.serving.api.body import StrictBody


class ClassifyRequest(StrictBody):
    """The body of ``POST /v1/classify``."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=1024)]
    model: str | None = None

    def characters(self) -> int:
        """Return the characters of the longest text."""
        return max(map(len, self.texts()))

    def texts(self) -> list[str]:
        """Return the texts as a list, even if there is only one."""
        return [self.input] if isinstance(self.input, str) else self.input
