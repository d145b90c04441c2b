"""What an application reports about an answer, as data; nothing of it is kept but counts.

The answer names the bytes that gave it (``system_fingerprint``), and a report that names them again is
counted for that version, whichever pod it reaches: so two versions side by side can be compared.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

QUESTIONS = ("completed", "converted", "returned")


class FeedbackRequest(BaseModel):
    """The body of ``POST /v1/feedback``; give what is known, at least one thing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    completed: bool | None = None
    """Whether the call did what the user came for: the success rate."""
    converted: bool | None = None
    """Whether the user took the step that the business counts: the conversion rate."""
    returned: bool | None = None
    """Whether this user was seen before: the retention rate."""
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    """How content the user was."""
    system_fingerprint: Annotated[str, Field(pattern=r"^fp_[0-9a-f]{12}$")] | None = None
    """The answer's own; the version of the server that is asked, if it is left out."""

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if not self.answers() and self.rating is None:
            raise PydanticCustomError(
                "empty_feedback",
                "give at least one of {known}",
                {"known": ", ".join((*QUESTIONS, "rating"))},
            )
        return self

    def answers(self) -> dict[str, bool]:
        """Return what was said to each question that was answered."""
        given = {question: getattr(self, question) for question in QUESTIONS}
        return {question: answer for question, answer in given.items() if answer is not None}

    def version(self, digest: str) -> str:
        """Return the first twelve digits of the version that is judged; *digest* is the server's own."""
        return (self.system_fingerprint or digest).removeprefix("fp_").removeprefix("sha256:")[:12]
