import pytest
from pydantic import ValidationError

from framework.serving.feedback import FeedbackRequest

DIGEST = f"sha256:{'ab' * 32}"


def read(text):
    return FeedbackRequest.model_validate_json(text)


def test_only_what_was_said_is_counted():
    assert read('{"completed": true, "returned": false}').answers() == {"completed": True, "returned": False}
    assert read('{"rating": 5}').answers() == {}


def test_a_report_is_about_the_server_asked_unless_it_names_another():
    assert read('{"rating": 1}').version(DIGEST) == "abababababab"
    assert read('{"rating": 1, "system_fingerprint": "fp_000000000000"}').version(DIGEST) == "0" * 12


@pytest.mark.parametrize("text", ["{}", '{"rating": 0}', '{"rating": true}', '{"system_fingerprint": "x"}'])
def test_what_says_nothing_is_refused(text):
    with pytest.raises(ValidationError):
        read(text)
