import pytest
from pydantic import ValidationError

from framework.serving.api.feedback_request import FeedbackRequest

DIGEST = f"sha256:{'ab' * 32}"


def read(text):
    return FeedbackRequest.model_validate_json(text)


def test_only_answered_questions_count():
    assert read('{"completed": true, "returned": false}').answers() == {"completed": True, "returned": False}
    assert read('{"rating": 5}').answers() == {}


def test_feedback_is_for_this_server_unless_it_names_another():
    assert read('{"rating": 1}').version(DIGEST) == "abababababab"
    assert read('{"rating": 1, "system_fingerprint": "fp_000000000000"}').version(DIGEST) == "0" * 12


@pytest.mark.parametrize("text", ["{}", '{"rating": 0}', '{"rating": true}', '{"system_fingerprint": "x"}'])
def test_empty_or_invalid_feedback_is_rejected(text):
    with pytest.raises(ValidationError):
        read(text)


def test_what_users_say_needs_no_rating_and_a_correction_needs_its_answer():
    said = FeedbackRequest.model_validate({"comment": "too long"})
    assert (said.answers(), said.rating, said.id) == ({}, None, None)
    corrected = FeedbackRequest.model_validate({"id": "chatcmpl-1", "correction": "Paris"})
    assert (corrected.id, corrected.correction) == ("chatcmpl-1", "Paris")
    for broken in ({"correction": "Paris"}, {"id": "chatcmpl-1"}, {"id": "", "rating": 1}, {"comment": ""}):
        with pytest.raises(ValidationError):
            FeedbackRequest.model_validate(broken)
