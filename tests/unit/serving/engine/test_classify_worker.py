import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.serving.api_error import ApiError
from framework.serving.engine.classify_worker import ClassifyWorker
from framework.serving.engine.model_worker import Settings


def opened(folder: Path, width: int = 8) -> ClassifyWorker:
    return ClassifyWorker(
        Settings(str(folder), "onnxruntime", "sequence-classification", 1, width, batch_timeout=0.0)
    )


def answered(worker: ClassifyWorker, *texts: str) -> dict[int, Any]:
    for number, text in enumerate(texts):
        worker.add(number, worker.read(text))
    events: dict[int, Any] = {}
    while worker.patience() is not None:
        events |= worker.step().events
    return events


def test_texts_share_a_batch(tiny_bert: Path) -> None:
    worker = opened(tiny_bert)
    answers = answered(worker, "a good film", "bad")
    good, other = answers[0], answers[1]
    assert good["label"] in {"negative", "neutral", "positive"}
    assert (good["batch"], other["batch"]) == (2, 2)
    assert answered(worker, "bad")[0]["scores"] == pytest.approx(other["scores"], abs=1e-5)
    with pytest.raises(ApiError, match="this model's context is 32") as refusal:
        worker.read("film " * 60)
    assert refusal.value.status == 400


def test_batches_are_of_similar_lengths_and_the_oldest_text_is_in_the_first(tiny_bert: Path) -> None:
    worker = opened(tiny_bert, width=2)
    texts = ["a a a a a a a a", "a", "a a a a a a a", "good", "a a a a"]
    for number, text in enumerate(texts):
        worker.add(number, worker.read(text))
    batches = []
    while worker.patience() is not None:
        batches.append({number for number, _ in worker.step().events})
    assert batches == [{0, 2}, {1, 3}, {4}]


def test_a_lone_text_waits_no_longer_than_its_bound(tiny_bert: Path) -> None:
    worker = opened(tiny_bert)
    worker.settings = replace(worker.settings, batch_timeout=0.2)
    worker.add(1, worker.read("bad"))
    assert 0 < worker.patience() <= 0.2
    for number in range(2, 9):
        worker.add(number, worker.read("good"))
    assert worker.patience() == 0
    worker.cancel(3)
    assert len(worker.step().events) == 7


def test_batch_that_fails_is_answered_with_errors(tiny_bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    worker = opened(tiny_bert)
    engine, worker.engine = worker.engine, None  # type: ignore[assignment]
    (failed,) = answered(worker, "bad").values()
    assert (failed["status"], failed["error"]["type"]) == (500, "server_error")
    assert "a batch of 1 texts" in caplog.text
    worker.engine = engine
    assert "label" in answered(worker, "bad")[0]


def test_multi_label_scores_are_sigmoids(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    worker = opened(folder)
    (answer,) = answered(worker, "a good film").values()
    logits = worker.engine.classify([worker.encode("a good film").ids])[0]  # type: ignore[attr-defined]
    assert list(answer["scores"].values()) == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-5)
    assert answer["labels"] == [label for label, score in answer["scores"].items() if score > 0.5]
    assert "label" not in answer
