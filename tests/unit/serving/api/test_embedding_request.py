import json
from typing import Any

import pytest

from framework.serving.api.body import read_request
from framework.serving.api.embedding_request import EmbeddingRequest, RerankRequest
from framework.serving.api_error import ApiError


def read(kind: Any, **fields: Any) -> Any:
    return read_request(kind, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("given", "texts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2.0], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_input_has_four_forms(given: Any, texts: Any) -> None:
    assert read(EmbeddingRequest, input=given).texts() == texts


@pytest.mark.parametrize(
    "fields",
    [
        *({"input": wrong} for wrong in ("", [], [""], [[]], ["a", 1], [-1], [True], None, ["a"] * 2049)),
        {"input": "a", "encoding_format": "int8"},
        {"input": "a", "dimensions": 0},
        {"input": "a", "truncate_prompt_tokens": 0},
        {"input": "a", "input_type": "query"},
        {},
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refusal:
        read(EmbeddingRequest, **fields)
    assert refusal.value.status == 400


def test_vectors_have_the_length_of_the_model() -> None:
    read(EmbeddingRequest, input="a").check_dimensions(32)
    read(EmbeddingRequest, input="a", dimensions=32).check_dimensions(32)
    with pytest.raises(ApiError) as refusal:
        read(EmbeddingRequest, input="a", dimensions=16).check_dimensions(32)
    assert (refusal.value.status, refusal.value.param) == (400, "dimensions")


def test_truncation_is_at_most_the_context() -> None:
    def most(asked: int | None, context: int | None = 128) -> int | None:
        return read(EmbeddingRequest, input="a", truncate_prompt_tokens=asked).most_tokens(context)

    assert [most(None), most(-1), most(7), most(128), most(7, None)] == [None, 128, 7, 128, 7]
    with pytest.raises(ApiError, match="128 tokens") as refusal:
        most(129)
    assert refusal.value.param == "truncate_prompt_tokens"


def test_documents_are_texts_or_objects() -> None:
    body = read(RerankRequest, query="q", documents=["a", {"text": "b"}])
    assert (body.texts(), body.top_n, body.return_documents) == (["a", "b"], None, None)
    for wrong in ({"query": ""}, {"documents": []}, {"documents": [{"title": "a"}]}, {"top_n": -1}):
        with pytest.raises(ApiError):
            read(RerankRequest, **{"query": "q", "documents": ["a"], **wrong})
