import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.compression import Exported
from framework.build.compression.int4_weight import Int4Weight
from framework.build.compression.int8_weight import Int8Weight
from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.onnx import Onnx
from framework.build.export.onnx_weights import compress
from framework.build.export.openvino import OpenVino
from framework.build.model import Model
from framework.core.errors import StepError

ROWS = [[5, 6, 7, 8, 9, 10], [70, 80, 90], [11] * 40]
EXPORTS = {"onnxruntime": Onnx(), "openvino": OpenVino()}
WEIGHTS = {"onnxruntime": "model.onnx", "openvino": "openvino_model.bin"}


@pytest.fixture(params=list(EXPORTS))
def engine(request: Any) -> str:
    if request.param == "openvino":
        pytest.importorskip("nncf")
    return str(request.param)


@pytest.fixture
def exported(engine: str, request: Any, tiny_llama: Path, tiny_model: Model) -> Exported:
    folder = request.getfixturevalue({"onnxruntime": "tiny_onnx", "openvino": "tiny_openvino"}[engine])
    return Exported(folder, EXPORTS[engine], tiny_llama, folder, tiny_model)


def size(exported: Path, engine: str) -> int:
    return (exported / WEIGHTS[engine]).stat().st_size


def close(one: Path, engine: str, other: Path) -> float:
    """The smallest cosine similarity of two models' logits over the rows."""
    wanted, given = open_engine("torch", one).logits(ROWS), open_engine(engine, other).logits(ROWS)
    pairs = [(a[-1], b[-1]) for a, b in zip(wanted, given, strict=True)]
    return min(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)


def test_int8_language_model_is_smaller_and_close(
    exported: Exported, engine: str, tiny_llama: Path, tmp_path: Path
) -> None:
    Int8Weight().compress(exported, tmp_path)
    widths = count_widths(tmp_path)
    assert widths.share(Int8Weight.bits) > 0.999
    assert widths.share(4) == 0
    assert set(widths.embeddings) == {8}
    # ONNX Runtime's file includes the graph, about 20 KB.
    graph = 2e4 if engine == "onnxruntime" else 0
    assert 0.25 < (size(tmp_path, engine) - graph) / size(exported.folder, engine) < 0.28
    assert close(tiny_llama, engine, tmp_path) > 0.998
    prompt = ROWS[1]
    wanted = list(open_engine("torch", tiny_llama).generate(prompt, 6))
    assert list(open_engine(engine, tmp_path).generate(prompt, 6)) == wanted
    assert (tmp_path / "tokenizer.json").read_bytes() == (tiny_llama / "tokenizer.json").read_bytes()


def test_int4_weights_are_smaller_and_close(
    exported: Exported, engine: str, tiny_llama: Path, tmp_path: Path
) -> None:
    Int4Weight(block_size=32).compress(exported, tmp_path)
    widths = count_widths(tmp_path)
    assert widths.share(Int4Weight.bits) > 0.999
    assert set(widths.embeddings) == {8}  # embedding and output layer
    assert size(tmp_path, engine) < 0.27 * size(exported.folder, engine)
    assert 0.8 < close(tiny_llama, engine, tmp_path) < 0.999


def test_classifiers_are_compressed(engine: str, tiny_bert: Path, tiny_model: Model, tmp_path: Path) -> None:
    whole, smaller = tmp_path / "whole", tmp_path / "smaller"
    smaller.mkdir()
    if engine == "onnxruntime":
        whole = tiny_bert
    else:
        whole.mkdir()
        EXPORTS[engine].write(tiny_bert, whole)
    Int8Weight().compress(Exported(whole, EXPORTS[engine], tiny_bert, whole, tiny_model), smaller)
    assert count_widths(smaller).share(8) > 0.85  # except position and token type embeddings
    rows = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 3]]
    wanted = open_engine("torch", tiny_bert).classify(rows)
    found = open_engine(engine, smaller).classify(rows)
    assert 0 < float(np.abs(wanted - found).max()) < 0.1 * float(np.ptp(wanted))


def test_compressed_graph_is_rejected(exported: Exported, engine: str, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.mkdir()
    twice.mkdir()
    Int8Weight().compress(exported, once)
    again = Exported(once, exported.export, exported.source, exported.data, exported.model)
    with pytest.raises(
        StepError, match="compression=int4-weight: the graph has no float matrix left"
    ) as caught:
        Int4Weight().compress(again, twice)
    assert "\n" not in str(caught.value)
    assert list(twice.iterdir()) == []


def test_corrupt_graph_is_one_line_and_leaves_no_file(
    exported: Exported, engine: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    folder = shutil.copytree(exported.folder, tmp_path / "broken")
    graph = {"onnxruntime": "model.onnx", "openvino": "openvino_model.xml"}[engine]
    (folder / graph).write_bytes(b"not a graph")
    broken = Exported(folder, exported.export, exported.source, exported.data, exported.model)
    with pytest.raises(StepError, match="; export the model again") as caught:
        Int8Weight().compress(broken, output)
    assert "\n" not in str(caught.value)
    assert list(output.iterdir()) == []


def test_last_onnx_block_may_be_shorter(tiny_llama: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    """ONNX Runtime pads the last block, so a matrix of 64 rows can have blocks of 128."""
    Onnx().compress_weights(tiny_onnx, tiny_llama, tmp_path, "int4", block_size=128)
    assert 0.8 < close(tiny_llama, "onnxruntime", tmp_path) < 0.999


def test_tied_head_is_compressed_with_its_embedding(tmp_path: Path) -> None:
    """The graph multiplies with the transposed table, which is not stored as a separate matrix."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper, save

    table = np.random.default_rng(0).normal(size=(128, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["states"], "read"),
        helper.make_node("Transpose", ["table"], ["turned"], "turn", perm=[1, 0]),
        helper.make_node("MatMul", ["states", "turned"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 128])],
        [numpy_helper.from_array(table, "table")],
    )
    file = tmp_path / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    before = file.stat().st_size
    compress(file, file, 4, 32)
    (tmp_path / "config.json").write_text('{"vocab_size": 128}')
    # One byte per value, both as a table and as the output layer.
    assert count_widths(tmp_path).embeddings == {8: 2 * 128 * 64}
    assert file.stat().st_size < 0.65 * before
    ids = np.array([3, 99])
    (logits,) = onnxruntime.InferenceSession(file).run(None, {"ids": ids})
    np.testing.assert_allclose(logits, table[ids] @ table.T, atol=0.6)
