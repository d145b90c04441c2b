"""Feedback of an application on an answer, as data. It is counted, and kept with ``serving.request_log``.

An answer names its model version (``system_fingerprint``). Feedback that repeats it counts for that
version, whichever pod receives it, so that two versions can be compared side by side.
"""

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from framework.serving.api.body import StrictBody

MOST_CHARACTERS = 65_536
"""Most characters of a comment or a correction."""
QUESTIONS = ("completed", "converted", "returned")
ANSWERS = (*QUESTIONS, "rating", "comment", "correction")
"""The fields of which one is needed."""


def _given(field: str) -> JsonDict:
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


_HAS_ID: JsonDict = {"anyOf": [{"properties": {"correction": {"type": "null"}}}, _given("id")]}


class FeedbackRequest(StrictBody):
    """The body of ``POST /v1/feedback``; at least one field besides id and fingerprint is needed."""

    model_config = ConfigDict(json_schema_extra={"allOf": [{"anyOf": [*map(_given, ANSWERS)]}, _HAS_ID]})

    completed: bool | None = None
    """Whether the user's request succeeded: the success rate."""
    converted: bool | None = None
    """Whether the user took the business's target action: the conversion rate."""
    returned: bool | None = None
    """Whether this user has come back: the retention rate."""
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    """The user's rating, 5 is best."""
    system_fingerprint: Annotated[str, Field(pattern=r"^fp_[0-9a-f]{12}$")] | None = None
    """The answer's own; by default the version of the server that receives the feedback."""

    id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The answer's own ``id``, which joins this to the logged request."""
    comment: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = None
    """What the user says about the answer."""
    correction: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = None
    """What the answer should have been; ``data=requests`` trains on it."""

    @model_validator(mode="after")
    def _not_empty(self) -> "FeedbackRequest":
        said = (self.rating, self.comment, self.correction)
        if not self.answers() and all(value is None for value in said):
            raise PydanticCustomError(
                "empty_feedback",
                "give at least one of {fields}",
                {"fields": ", ".join(ANSWERS)},
            )
        if self.correction is not None and self.id is None:
            raise PydanticCustomError("no_id", "a correction needs the id of the answer that it corrects")
        return self

    def answers(self) -> dict[str, bool]:
        """Return the answer to each question that has one."""
        answers = {question: getattr(self, question) for question in QUESTIONS}
        return {question: answer for question, answer in answers.items() if answer is not None}

    def version(self, digest: str) -> str:
        """Return the rated version's first twelve hex digits; *digest* is the server's own."""
        return (self.system_fingerprint or digest).removeprefix("fp_").removeprefix("sha256:")[:12]
