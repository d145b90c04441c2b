"""16-bit graphs: cast by ModelOpt, run by ONNX Runtime, built to an engine by TensorRT-RTX."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from framework.build.compression import Exported
from framework.build.compression.bf16 import BFloat16
from framework.build.compression.fp16 import Float16
from framework.build.compression.int8_static import Int8Static
from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.onnx import Onnx
from framework.build.export.openvino import OpenVino
from framework.build.export.tensorrt import Sizes, TensorRT
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.stages.compress import Compress
from framework.core.errors import StepError
from framework.core.filesystem import tree_digest
from framework.core.step import Step

ROWS = [[2, 5, 6, 7, 3], [2, 9, 3], [2, *range(10, 38), 3]]
MODEL = TinyEncoder(name="tiny", license="Apache-2.0", parameters=1e5, labels=("a", "b", "c"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Path:
    """A data folder with three calibration rows."""
    folder: Path = tmp_path_factory.mktemp("data")
    lengths = torch.tensor([len(row) for row in ROWS])
    labels, ones = torch.tensor([0, 1, 2]), torch.ones(3, dtype=torch.long)
    ids = torch.tensor([token for row in ROWS for token in row])
    columns = {"input_ids": ids, "input_lengths": lengths, "labels": labels, "label_lengths": ones}
    save_file(columns, folder / "train.safetensors")
    return folder


@pytest.fixture(scope="module")
def fp32(tiny_bert: Path, tmp_path_factory: Any) -> Path:
    """The output of ``export=onnx``, whose only weights are in the graph."""
    folder: Path = tmp_path_factory.mktemp("fp32")
    apart = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(tiny_bert, folder, dirs_exist_ok=True, ignore=apart))


def exported(folder: Path, data: Path, export: Any = None) -> Exported:
    return Exported(folder, export or Onnx(), folder, data, MODEL)


@pytest.fixture(scope="module")
def fp16(fp32: Path, data: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("fp16")
    Float16().compress(exported(fp32, data), folder)
    return folder


def test_half_precision_is_close(tiny_bert: Path, fp16: Path) -> None:
    wanted = open_engine("torch", tiny_bert).classify(ROWS)
    given = open_engine("onnxruntime", fp16).classify(ROWS)
    assert 0 < float(np.abs(wanted - given).max()) < 0.05 * float(wanted.std())
    assert (wanted.argmax(1) == given.argmax(1)).all()


def test_weights_have_sixteen_bits(fp32: Path, fp16: Path) -> None:
    assert count_widths(fp32).share(16) == 0
    assert count_widths(fp16).share(16) == 1
    assert (fp16 / "model.onnx").stat().st_size < 0.75 * (fp32 / "model.onnx").stat().st_size
    assert json.loads((fp16 / "compression.json").read_text()) == {"precision": "fp16", "float32_weights": []}


def test_graph_keeps_its_inputs_and_is_self_contained(fp16: Path) -> None:
    import onnx

    graph = onnx.load(fp16 / "model.onnx").graph
    assert {given.name for given in graph.input} == {"input_ids", "attention_mask", "token_type_ids"}
    assert {given.type.tensor_type.elem_type for given in graph.input} == {onnx.TensorProto.INT64}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert b"/tmp/" not in (fp16 / "model.onnx").read_bytes()
    assert (fp16 / "tokenizer.json").is_file()


def test_same_rows_give_the_same_bytes(fp32: Path, data: Path, fp16: Path, tmp_path: Path) -> None:
    Float16().compress(exported(fp32, data), tmp_path)
    assert tree_digest(tmp_path) == tree_digest(fp16)


def test_large_activations_stay_in_float32(tiny_bert: Path, fp32: Path, data: Path, tmp_path: Path) -> None:
    careful = Float16(largest=0.01)
    careful.compress(exported(fp32, data), tmp_path)
    kept = json.loads((tmp_path / "compression.json").read_text())["float32_weights"]
    assert kept
    # Token ids exceed every bound, but are not activations.
    assert not [name for name in kept if "word_embeddings" in name]
    wanted = open_engine("torch", tiny_bert).classify(ROWS)
    assert np.abs(open_engine("onnxruntime", tmp_path).classify(ROWS) - wanted).max() < 0.03


@pytest.mark.parametrize("method", [Float16(), BFloat16()])
def test_half_precision_engine_is_smaller(fp32: Path, data: Path, method: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    export = TensorRT(length=Sizes(opt=16, max=32))
    whole, half = tmp_path / "fp32", tmp_path / "half"
    shutil.copytree(fp32, whole)
    export.finish(whole, tmp_path)
    half.mkdir()
    method.compress(exported(whole, data, export), half)
    assert not list(half.glob("*.engine")), "the engine of the float32 graph was taken along"
    export.finish(half, tmp_path)
    (large,), (small,) = whole.glob("*.engine"), half.glob("*.engine")
    assert small.name == large.name
    assert small.stat().st_size < large.stat().st_size


def test_language_model_keeps_its_cache_in_float32(
    tiny_onnx: Path, tiny_llama: Path, data: Path, tmp_path: Path
) -> None:
    Float16().compress(exported(tiny_onnx, data), tmp_path)
    assert count_widths(tmp_path).share(16) == 1
    whole, half = open_engine("torch", tiny_llama), open_engine("onnxruntime", tmp_path)
    (wanted,), (given,) = whole.logits(ROWS[2:]), half.logits(ROWS[2:])
    assert 0 < np.abs(wanted - given).max() < 0.05 * np.abs(wanted).max()
    assert list(half.generate([5, 6, 7], 6)) == list(whole.generate([5, 6, 7], 6))


def test_openvino_writes_fp16(tiny_bert: Path, fp32: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made_of = Exported(fp32, OpenVino(), tiny_bert, data, MODEL)
    Float16().compress(made_of, tmp_path)
    assert count_widths(tmp_path).share(16) == 1
    wanted = open_engine("torch", tiny_bert).classify(ROWS)
    assert np.abs(open_engine("openvino", tmp_path).classify(ROWS) - wanted).max() < 0.05 * wanted.std()


def test_int8_graph_builds_an_engine(fp32: Path, data: Path, tmp_path: Path) -> None:
    """The engine takes its precision from the graph that ``int8-static`` writes."""
    import onnx

    pytest.importorskip("tensorrt_rtx")
    export = TensorRT(length=Sizes(opt=16, max=32))
    Int8Static().compress(exported(fp32, data, export), tmp_path)
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    export.finish(tmp_path, tmp_path)
    (file,) = tmp_path.glob("*.engine")
    assert file.stat().st_size > 0


def test_missing_rows_and_broken_graph_are_reported(fp32: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="set compression=int8-dynamic"):
        Float16().compress(exported(fp32, tmp_path), tmp_path / "output")
    broken = tmp_path / "broken"
    shutil.copytree(fp32, broken)
    (broken / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(StepError, match="compression=bf16: the graph cannot be cast"):
        BFloat16().compress(exported(broken, data), tmp_path / "output")


def test_casting_libraries_enter_the_key() -> None:
    step = Step("compress", Compress(compression=Float16(), export=Onnx(), model=MODEL))
    assert step.identity()["libraries"]["nvidia-modelopt"]
