from pathlib import Path
from typing import Any

import pytest

from framework.build.export import Parity
from framework.build.export.onnx_genai import OnnxGenai
from framework.build.stages.evaluate import read_metrics
from framework.build.stages.gate import Gate
from framework.build.stages.parity import CompareExports
from framework.core.errors import GateError
from framework.core.gates import Bound
from framework.core.step import Workspace

CANDIDATES = ("fp32", "int4")


@pytest.fixture(scope="module")
def exported(tiny_tuned: Path, tmp_path_factory: Any) -> dict[str, Path]:
    folders = {}
    for precision in CANDIDATES:
        folders[precision] = tmp_path_factory.mktemp(precision)
        OnnxGenai().write(tiny_tuned, folders[precision], precision)
    return folders


def compare(inputs: dict[str, Path], output: Path, **parity: int) -> dict[str, float]:
    stage = CompareExports(parity=Parity(**parity), task="causal-lm", engine="genai", candidates=CANDIDATES)
    stage.run(inputs, output, Workspace(output))
    return read_metrics(output)


def test_exports_are_compared_with_pytorch(
    exported: dict[str, Path], tiny_tuned: Path, tiny_data: Path, tmp_path: Path
) -> None:
    found = compare({"model": tiny_tuned, "data": tiny_data, **exported}, tmp_path)
    measured = CompareExports.metrics("causal-lm", Parity(), "genai")
    assert set(found) == {f"{candidate}.{metric}" for candidate in CANDIDATES for metric in measured}
    assert found["fp32.max_difference"] < 1e-3
    assert found["fp32.agreement"] == 1.0
    assert found["fp32.generation_agreement"] == 1.0
    assert found["fp32.batched_agreement"] == 1.0
    assert found["fp32.batched_metric_loss"] == 0
    assert 1e-3 < found["int4.mean_difference"] < found["int4.max_difference"]  # 4 bits do lose something
    assert found["int4.agreement"] > 0.8
    # Embeddings are not counted; all that is multiplied has four bits, and none of it in the float export.
    assert found["int4.weights_4_bit_share"] == 1.0
    assert found["fp32.weights_4_bit_share"] == found["fp32.weights_16_bit_share"] == 0.0


def test_float_file_that_claims_four_bits_fails_the_gate(
    exported: dict[str, Path], tiny_tuned: Path, tiny_data: Path, tmp_path: Path
) -> None:
    float_only = dict.fromkeys(CANDIDATES, exported["fp32"])
    compare({"model": tiny_tuned, "data": tiny_data, **float_only}, tmp_path, generations=0, rows=1)
    gate = Gate(bounds={"int4.weights_4_bit_share": Bound(min=0.5)})
    with pytest.raises(GateError, match=r"int4\.weights_4_bit_share is 0, the gate requires >= 0\.5"):
        gate.run({"parity": tmp_path}, tmp_path, Workspace(tmp_path))


def test_export_of_another_model_is_detected(
    exported: dict[str, Path], tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    found = compare({"model": tiny_base, "data": tiny_data, **exported}, tmp_path, generations=0)
    assert found["fp32.max_difference"] > 1
    assert found["fp32.agreement"] < 0.5
    assert "fp32.generation_agreement" not in found


def test_differences_are_those_of_labeled_positions(
    exported: dict[str, Path], tiny_tuned: Path, tiny_data: Path, tmp_path: Path
) -> None:
    import numpy as np

    from framework.build.engine import open_engine
    from framework.build.training.batches import read_examples

    found = compare({"model": tiny_tuned, "data": tiny_data, **exported}, tmp_path, rows=2)
    apart, alike = [], []
    for ids, labels in read_examples(tiny_data / "test")[:2]:
        one = open_engine("torch", tiny_tuned).logits([ids.tolist()])[0]
        other = open_engine("genai", exported["int4"]).logits([ids.tolist()])[0]
        places = [place for place in range(len(ids) - 1) if labels[place + 1] != -100]
        apart += [np.abs(one[place] - other[place]) for place in places]
        alike += [one[place].argmax() == other[place].argmax() for place in places]
    assert found["int4.max_difference"] == pytest.approx(float(np.max(apart)), abs=1e-5)
    assert found["int4.mean_difference"] == pytest.approx(float(np.mean(apart)), abs=1e-5)
    assert found["int4.agreement"] == pytest.approx(float(np.mean(alike)))


def test_batches_that_answer_otherwise_are_found(
    exported: dict[str, Path], tiny_base: Path, tiny_tuned: Path, tiny_data: Path, tmp_path: Path, monkeypatch
) -> None:
    from framework.build.engine import genai

    folder, other = tmp_path / "measured", tmp_path / "other"
    OnnxGenai().write(tiny_base, other, "fp32")
    alone = CompareExports(parity=Parity(batched=6), task="causal-lm", engine="genai", candidates=("fp32",))
    inputs, open_batches = (
        {"model": tiny_tuned, "data": tiny_data, "fp32": exported["fp32"]},
        genai.open_batches,
    )
    folder.mkdir()
    # The batches are those of the model before its training, which says other things.
    monkeypatch.setattr(genai, "open_batches", lambda _, threads, width: open_batches(other, threads, width))
    alone.run(inputs, folder, Workspace(folder))
    found = read_metrics(folder)
    assert found["fp32.batched_agreement"] < 1
    assert found["fp32.batched_exact_match"] == 0
    assert found["fp32.batched_metric_loss"] == 1
    gate = Gate(bounds={"fp32.batched_metric_loss": Bound(max=0.1)})
    with pytest.raises(GateError, match=r"batched_metric_loss is 1"):
        gate.run({"parity": folder}, tmp_path, Workspace(tmp_path))
    assert found["fp32.generation_agreement"] == 1


def test_batches_are_compared_only_where_there_are_any() -> None:
    added = {"batched_agreement", "batched_exact_match", "batched_metric_loss"}
    assert added < {*CompareExports.metrics("causal-lm", Parity(), "openvino")}
    assert "batched_agreement" not in CompareExports.metrics("causal-lm", Parity(), "torch")
    assert "batched_agreement" not in CompareExports.metrics("causal-lm", Parity(batched=0), "genai")
    assert "batched_agreement" not in CompareExports.metrics("sequence-classification", Parity(), "openvino")
