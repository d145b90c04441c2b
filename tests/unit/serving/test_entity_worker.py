"""Entities in served texts, and multi-label scores."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from framework.build.engine import open_engine
from framework.build.model.tiny_encoder import TinyEncoder
from framework.serving.entity_worker import EntityWorker
from framework.serving.model_worker import ClassifyWorker, Shared
from framework.serving.tokenization import open_tokenizer


@pytest.fixture
def shared():
    memory = Shared()
    yield memory
    memory.failure.close()
    memory.report.close()


class FixedTags:
    """An engine that returns fixed tags for the tokens of each row."""

    def __init__(self, *tags: list[int]) -> None:
        self.tags = list(tags)

    def logits(self, rows):
        return [9 * np.eye(9, dtype=np.float32)[tags] for tags, _ in zip(self.tags, rows, strict=True)]


def test_entities_have_their_span_in_the_text(shared: Shared, tmp_path: Path) -> None:
    model = TinyEncoder(
        name="t", license="x", parameters=1e5, problem="entities", labels=("city", "size"), context=32
    )
    model.materialize(tmp_path, seed=0)
    worker = EntityWorker(tmp_path, "torch", 1, shared)
    worker.tokenizer = open_tokenizer(tmp_path)
    worker.engine = open_engine("torch", tmp_path, 1)
    worker.context = 32
    worker.warm_up()
    real = worker.predict(["Rome, 4 km"])[0]
    assert real["tokens"] == 10  # eight bytes and the encoder's two own tokens
    # [CLS] R o m e , 4 k m [SEP]: a city of one word, a size of two.
    worker.engine = FixedTags([0, 4, 0, 0, 0, 0, 5, 7, 0, 0], [0] * 4)
    text = "Rome,  4 km"
    found, nothing, refused = worker.predict([text, "a b", "a" * 40])
    assert [(e["label"], e["text"]) for e in found["entities"]] == [("city", "Rome"), ("size", "4 km")]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])
    assert all(0.9 < e["score"] <= 1 for e in found["entities"])
    assert nothing["entities"] == []
    assert refused["status"] == 400


def test_multi_label_scores_are_sigmoids(shared: Shared, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    worker = ClassifyWorker(folder, "onnxruntime", 1, shared)
    worker.tokenizer = open_tokenizer(folder)
    worker.engine = open_engine("onnxruntime", folder, 1)
    worker.context = 32
    worker.warm_up()
    (answer,) = worker.predict(["a good film"])
    logits = worker.engine.classify([worker._ids("a good film")])[0]
    assert list(answer["scores"].values()) == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-5)
    assert answer["labels"] == [label for label, score in answer["scores"].items() if score > 0.5]
    assert "label" not in answer
