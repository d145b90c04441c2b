import pytest

from framework.serving.api.body import read_request
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api_error import ApiError


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null"])
def test_body_that_is_not_a_json_object_is_a_400(raw) -> None:
    with pytest.raises(ApiError, match="not a JSON object") as caught:
        read_request(ChatRequest, raw)
    assert caught.value.status == 400
