"""Entities in served texts."""

from pathlib import Path

import numpy as np
import pytest

from framework.build.model.tiny_encoder import TinyEncoder
from framework.serving.api_error import ApiError
from framework.serving.engine.entity_worker import EntityWorker
from framework.serving.engine.model_worker import Settings


class FixedTags:
    """An engine that returns fixed tags for the tokens of each row."""

    def __init__(self, *tags: list[int]) -> None:
        self.tags = list(tags)

    def logits(self, rows):
        return [9 * np.eye(9, dtype=np.float32)[tags] for tags, _ in zip(self.tags, rows, strict=True)]


def test_entities_have_their_span_in_the_text(tmp_path: Path) -> None:
    model = TinyEncoder(
        name="t", license="x", parameters=1e5, problem="entities", labels=("city", "size"), context=32
    )
    model.materialize(tmp_path, seed=0)
    worker = EntityWorker(Settings(str(tmp_path), "torch", "token-classification", 1, 8, 0.0))
    assert worker.warm_up() > 0
    # Eight bytes and the encoder's two own tokens.
    assert len(worker.read("Rome, 4 km").ids) == 10
    with pytest.raises(ApiError, match="context is 32"):
        worker.read("a" * 40)
    # [CLS] R o m e , 4 k m [SEP]: a city of one word, a size of two.
    worker.engine = FixedTags([0, 4, 0, 0, 0, 0, 5, 7, 0, 0], [0] * 4)
    text = "Rome,  4 km"
    found, nothing = worker.answer([worker.read(text), worker.read("a b")])
    assert [(e["label"], e["text"]) for e in found["entities"]] == [("city", "Rome"), ("size", "4 km")]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])
    assert all(0.9 < e["score"] <= 1 for e in found["entities"])
    assert nothing["entities"] == []
