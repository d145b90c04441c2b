import pytest

from framework.serving.api.body import read_request
from framework.serving.api.classify_request import ClassifyRequest
from framework.serving.api_error import ApiError


def test_classify_accepts_one_or_several_texts() -> None:
    assert read_request(ClassifyRequest, b'{"input": "a"}').texts() == ["a"]
    assert read_request(ClassifyRequest, b'{"input": ["a", "b"]}').texts() == ["a", "b"]
    with pytest.raises(ApiError, match="input"):
        read_request(ClassifyRequest, b'{"input": []}')
