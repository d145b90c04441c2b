from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.engine.bit_width import count_widths
from framework.core.errors import ServeError


def graph(folder: Path, weight: Any) -> Path:
    """A graph that multiplies with *weight*, (4, 6), through Q/DQ where that is int8."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, more, fed = [], [], "weight"
    if weight.dtype == np.int8:
        more = [numpy_helper.from_array(np.ones((1, 6), np.float32), "scale")]
        nodes, fed = (
            [helper.make_node("DequantizeLinear", ["weight", "scale"], ["float"], block_size=4)],
            "float",
        )
    nodes.append(helper.make_node("MatMul", ["x", fed], ["y"]))
    unused = numpy_helper.from_array(np.zeros((100, 100), np.int8), "unused")
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(weight, "weight"), *more, unused],
    )
    save(helper.make_model(made), folder / "model.onnx")
    return folder


def test_weights_count_and_their_scales_do_not(tmp_path: Path) -> None:
    found = count_widths(graph(tmp_path, np.ones((4, 6), np.int8)))
    assert found.matrices == {8: 24}
    assert (found.share(4), found.share(8)) == (0.0, 1.0)


def test_unused_integers_do_not_count(tmp_path: Path) -> None:
    """Unused integers beside float weights do not make an export int8."""
    found = count_widths(graph(tmp_path, np.ones((4, 6), np.float32)))
    assert found.matrices == {32: 24}
    assert found.share(16) == 0.0


def test_safetensors_count_embeddings_separately(tiny_llama: Path) -> None:
    from transformers import AutoConfig

    size = AutoConfig.from_pretrained(tiny_llama)
    # Two layers of q and o (64 x 64), k and v (32 x 64), and three of 128 x 64.
    found = count_widths(tiny_llama)
    assert found.matrices == {32: 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64)}
    assert found.embeddings == {32: 2 * size.vocab_size * 64}


def test_openvino_weights_count_without_scales(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    import openvino.opset13 as ops

    fed = ops.parameter([-1, 6], np.float32)
    weight = ops.convert(ops.constant(np.ones((4, 6), np.int8)), "f32")
    matrix = ops.multiply(weight, ops.constant(np.full((4, 1), 0.5, np.float32)))
    shifted = ops.add(ops.matmul(fed, matrix, False, True), ops.constant(np.ones((1, 4), np.float32)))
    openvino.save_model(openvino.Model([shifted], [fed]), tmp_path / "openvino_model.xml")
    assert count_widths(tmp_path).matrices == {8: 24}


def test_folder_without_weights_has_a_share_of_zero(tmp_path: Path) -> None:
    assert count_widths(tmp_path).share(16) == 0.0


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_corrupt_file_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(ServeError, match=f"{name}: its weights cannot be counted: ") as caught:
        count_widths(tmp_path)
    assert "\n" not in str(caught.value)
