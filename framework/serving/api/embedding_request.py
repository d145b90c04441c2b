"""The bodies of ``POST /v1/embeddings`` and ``/v1/rerank``."""

from typing import Annotated, Any, Literal

from pydantic import Field

from framework.serving.api.body import StrictBody
from framework.serving.api_error import ApiError

MOST = 2048
"""Most texts of one request, as in OpenAI's API."""
WHOLE_CONTEXT = -1
"""Reads as many tokens as fit into the model's context, as in vLLM's API."""

Filled = Annotated[str, Field(min_length=1)]
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_SEVERAL = Field(min_length=1, max_length=MOST)


class ReadsTexts(StrictBody):
    """What both bodies share."""

    model: str | None = None
    truncate_prompt_tokens: Literal[-1] | Annotated[int, Field(ge=1)] | None = None
    """Read only so many first tokens of each text; -1 reads as many as the model can. Without it, a text that
    is too long is refused."""

    def most_tokens(self, context: int | None) -> int | None:
        """Return how many tokens of a text are read; None for all.

        Args:
            context: tokens that the model can read; None if that is unknown.

        Raises:
            ApiError: 400, the request names more than that.
        """
        asked = self.truncate_prompt_tokens
        if asked == WHOLE_CONTEXT:
            return context
        if asked is not None and context is not None and asked > context:
            raise ApiError(
                400,
                f"truncate_prompt_tokens is {asked}, but this model's context is {context} tokens",
                param="truncate_prompt_tokens",
            )
        return asked


class EmbeddingRequest(ReadsTexts):
    """Every field of OpenAI's API, and vLLM's ``truncate_prompt_tokens``."""

    input: Filled | Ids | Annotated[list[Filled], _SEVERAL] | Annotated[list[Ids], _SEVERAL]
    encoding_format: Literal["float", "base64"] | None = None
    """``base64`` is of little-endian float32 numbers."""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Only the model's own number: no model was trained to have its vectors cut."""
    user: str | None = None

    def texts(self) -> list[str | list[int]]:
        """Return each text, or its token ids."""
        given: Any = self.input
        several = isinstance(given, list) and not isinstance(given[0], int)
        return list(given) if several else [given]

    def check_dimensions(self, dimensions: int | None) -> None:
        """Refuse a length that the model's vectors do not have.

        Raises:
            ApiError: 400.
        """
        if None not in (self.dimensions, dimensions) and self.dimensions != dimensions:
            raise ApiError(
                400,
                f"dimensions is {self.dimensions}, but this model's vectors have {dimensions} numbers, and "
                "it was not trained to have them cut; leave dimensions out",
                param="dimensions",
            )


class Document(StrictBody):
    """A document as an object."""

    text: Filled


class RerankRequest(ReadsTexts):
    """The fields of Jina's API that have a meaning here, and vLLM's ``truncate_prompt_tokens``."""

    query: Filled
    documents: Annotated[list[Filled | Document], _SEVERAL]
    top_n: Annotated[int, Field(ge=0)] | None = None
    """How many of the best documents are returned; 0 or null returns all."""
    return_documents: bool | None = None
    """Whether results have their document; null means true."""

    def texts(self) -> list[str]:
        """Return the documents' texts."""
        return [document if isinstance(document, str) else document.text for document in self.documents]
