import json
from pathlib import Path

import pytest

from framework.build.evaluation.held_out import HeldOut
from framework.build.model import Model
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.stages.evaluate import Evaluate, metric_loss, read_metrics, write_metrics
from framework.build.task import open_task
from framework.core.step import Workspace


def test_metrics_and_examples_are_written(
    tiny_model: Model, tiny_base: Path, tiny_tuned: Path, tiny_data: Path, tmp_path: Path
) -> None:
    stage = Evaluate(candidate="tuned", engine="torch", model=tiny_model, evaluation=HeldOut(), examples=3)
    inputs = {"candidate": tiny_tuned, "data": tiny_data, "data_model": tiny_base}
    stage.run(inputs, tmp_path, Workspace(tmp_path))
    metrics = read_metrics(tmp_path)
    assert set(metrics) == {"tuned.exact_match", "tuned.perplexity", "tuned.stops"}
    assert metrics["tuned.exact_match"] >= 0.5  # what twenty epochs teach it
    assert metrics["tuned.perplexity"] < 2
    shown = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    assert len(shown) == 3
    rows = [json.loads(line) for line in (tiny_data / "test" / "00000.jsonl").read_text().splitlines()]
    for entry, row in zip(shown, rows, strict=False):
        question, answer = (message["content"] for message in row["messages"])
        assert question in entry["prompt"]
        assert entry["prompt"].endswith("assistant\n")
        assert entry["expected"] == answer
    assert any(entry["answer"] == entry["expected"] for entry in shown)


def test_classifier_examples_name_labels(tiny_bert: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    ids = [[2, 7, 8, 3], [2, 9, 3]]
    (tmp_path / "test").mkdir()
    save_file(
        {
            "input_ids": torch.tensor([token for row in ids for token in row], dtype=torch.int32),
            "labels": torch.tensor([0, 1], dtype=torch.int32),
            "input_lengths": torch.tensor([4, 3]),
            "label_lengths": torch.tensor([1, 1]),
        },
        tmp_path / "test" / "00000.safetensors",
    )
    model = SequenceClassification(
        name="b", license="x", parameters=1e4, source=f"file://{tiny_bert}", labels=("a", "b", "c")
    )
    (tmp_path / "out").mkdir()
    inputs = {"candidate": tiny_bert, "data": tmp_path, "data_model": tiny_bert}
    for engine in ("torch", "onnxruntime"):
        stage = Evaluate(candidate="base", engine=engine, model=model, evaluation=HeldOut())
        stage.run(inputs, tmp_path / "out", Workspace(tmp_path))
        assert set(read_metrics(tmp_path / "out")) == {"base.accuracy", "base.macro_f1"}
        lines = (tmp_path / "out" / "examples.jsonl").read_text().splitlines()
        first, second = (json.loads(line) for line in lines)
        assert [first["expected"], second["expected"]] == ["negative", "neutral"]
        assert {first["answer"], second["answer"]} <= {"negative", "neutral", "positive"}
        right = sum(row["expected"] == row["answer"] for row in (first, second))
        assert right / 2 == read_metrics(tmp_path / "out")["base.accuracy"]
        assert first["prompt"]


@pytest.mark.parametrize(
    ("task", "measured", "tuned", "loss"),
    [
        ("sequence-classification", {"accuracy": 0.6}, {"accuracy": 0.8}, 0.25),
        ("sequence-classification", {"accuracy": 0.9}, {"accuracy": 0.8}, -0.125),
        ("sequence-classification", {"accuracy": 0.0}, {"accuracy": 0.0}, 0.0),
        # What people read first is lost, although the perplexity hardly rises.
        (
            "causal-lm",
            {"perplexity": 1.035, "exact_match": 0.704},
            {"perplexity": 1.0, "exact_match": 1.0},
            0.296,
        ),
        # Of free text no answer is matched exactly, so only perplexity can be lost.
        (
            "causal-lm",
            {"perplexity": 22.0, "exact_match": 0.0},
            {"perplexity": 20.0, "exact_match": 0.0},
            0.1,
        ),
    ],
)
def test_metric_loss_is_relative_to_the_tuned_model(
    task: str, measured: dict[str, float], tuned: dict[str, float], loss: float
) -> None:
    assert metric_loss(open_task(task), measured, tuned) == pytest.approx(loss)


def test_candidate_is_compared_with_the_tuned_model(
    tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    tuned, output = tmp_path / "tuned", tmp_path / "output"
    tuned.mkdir()
    output.mkdir()
    write_metrics(tuned, {"tuned.exact_match": 0.0, "tuned.perplexity": 2.0})
    stage = Evaluate(candidate="int4", engine="torch", model=tiny_model, evaluation=HeldOut(rows=2))
    inputs = {"candidate": tiny_base, "data": tiny_data, "data_model": tiny_base, "tuned": tuned}
    stage.run(inputs, output, Workspace(tmp_path))
    metrics = read_metrics(output)
    assert metrics["int4.metric_loss"] == pytest.approx(metrics["int4.perplexity"] / 2 - 1, abs=1e-5)
    assert metrics["int4.metric_loss"] > 10  # it was never trained


def test_metrics_are_written_sorted_and_rounded(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"b.x": 1 / 3, "a.x": 2.0})
    assert (tmp_path / "metrics.json").read_text() == '{\n  "a.x": 2.0,\n  "b.x": 0.333333\n}\n'
    assert read_metrics(tmp_path) == {"a.x": 2.0, "b.x": pytest.approx(0.333333)}
