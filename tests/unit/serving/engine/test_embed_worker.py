from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.engine import Embeds, open_engine, require
from framework.core.errors import ServeError
from framework.serving.api_error import ApiError
from framework.serving.engine.embed_worker import EmbedWorker
from framework.serving.engine.model_worker import Settings
from framework.serving.vectors import read_vectors


def settings(folder: Path, engine: str) -> Settings:
    return Settings(str(folder), engine, "text-embedding", 1, max_batch_size=8, batch_timeout=0.0)


def asked(text: str | list[int], most: int | None = None) -> dict[str, Any]:
    return {"embed": text, "most": most}


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_each_text_gets_the_vector_that_the_engine_gives_it_alone(tiny_embedding: Path, engine: str) -> None:
    worker = EmbedWorker(settings(tiny_embedding, engine))
    texts = ["a good film", "bad", "a longer text about nothing", "bad"]
    for number, text in enumerate(texts):
        worker.add(number, worker.read(asked(text)))
    answers = dict(worker.step().events)
    assert [answers[number]["batch"] for number in range(4)] == [4] * 4
    found = read_vectors([answers[number]["embedding"] for number in range(4)])
    alone = require(open_engine(engine, tiny_embedding, 1), Embeds)
    wanted = [alone.embed([worker.encode(text).ids])[0] for text in texts]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01, "different texts have different vectors"
    assert worker.abilities().dimensions == found.shape[1] == 32


def test_texts_are_read_whole_or_as_many_tokens_as_asked(tiny_embedding: Path) -> None:
    worker = EmbedWorker(settings(tiny_embedding, "onnxruntime"))
    whole = worker.read(asked("a good film")).ids
    assert worker.read(asked(whole)).ids == whole
    assert worker.read(asked("a good film", 100)).ids == whole
    assert worker.read(asked("a good film", 6)).ids == [*whole[:5], whole[-1]], "the end token stays"
    assert worker.read(asked("a good film", 2)).ids == whole[:2]
    assert worker.read(asked(whole, 5)).ids == whole[:5]
    assert worker.read(asked("a good film")).ids == whole, "no limit is left behind"
    long = "word " * 100
    assert worker.read(asked(long, 128)).ids == [*worker.encode(long).ids[:127], whole[-1]]
    for payload in (
        asked(long),
        asked([5] * 129),
        asked([len(worker.tokenizer)]),
        asked(long, 129),
    ):
        with pytest.raises(ApiError) as refusal:
            worker.read(payload)
        assert (refusal.value.status, refusal.value.param) == (400, "input")


def test_a_classifier_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(ServeError, match="embed"):
        EmbedWorker(settings(tiny_bert, "torch"))
