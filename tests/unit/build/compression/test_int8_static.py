import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import spread
from framework.build.compression.int8_dynamic import Int8Dynamic
from framework.build.compression.int8_static import Int8Static
from framework.build.engine import Sampling, open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.onnx import Onnx
from framework.build.model.tiny import TinyCausalLM
from framework.build.model.tiny_encoder import TinyEncoder
from framework.core.errors import FrameworkError, StepError
from framework.core.filesystem import tree_digest


@pytest.fixture(scope="module")
def exported(export_of: Callable[..., Exported]) -> Exported:
    model = TinyEncoder(name="tiny", license="x", parameters=1e5, labels=("bad", "fine", "good"))
    return export_of(model, Onnx())


def far(exported: Exported, output: Path) -> float:
    """The relative difference of the logits to PyTorch's, on rows that were not used for calibration."""
    draw = np.random.default_rng(1)
    rows = [draw.integers(4, 250, length).tolist() for length in (3, 17, 40)]
    wanted = open_engine("torch", exported.source).classify(rows)
    given = open_engine("onnxruntime", output).classify(rows)
    return float(np.abs(wanted - given).max() / wanted.std())


@pytest.mark.parametrize(("method", "most"), [("minmax", 0.2), ("percentile", 0.2), ("entropy", 1.0)])
def test_int8_is_smaller_close_and_lists_its_rows(
    exported: Exported, tmp_path: Path, method: Any, most: float
) -> None:
    Int8Static(calibration_rows=5, method=method).compress(exported, tmp_path)
    assert count_widths(tmp_path).share(8) == 1.0
    before, after = ((folder / "model.onnx").stat().st_size for folder in (exported.folder, tmp_path))
    assert after < 0.4 * before
    assert 0 < far(exported, tmp_path) < most
    decided = json.loads((tmp_path / "compression.json").read_text())
    assert decided["calibration_rows"] == spread(12, 5) == [0, 2, 4, 7, 9]
    assert decided["method"] == method
    assert "bert.encoder.layer.1.output.dense" in decided["int8"]
    assert (tmp_path / "tokenizer.json").read_bytes() == (exported.folder / "tokenizer.json").read_bytes()


def test_int8_is_deterministic_and_has_no_local_path(exported: Exported, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Int8Static(calibration_rows=4).compress(exported, tmp_path / name)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")
    assert b"/tmp/" not in (tmp_path / "one" / "model.onnx").read_bytes()


class ForTensorRT(Onnx):
    symmetric_int8: ClassVar[bool] = True


def test_tensorrt_gets_symmetric_ranges_of_products_only(exported: Exported, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, numpy_helper

    Int8Static(calibration_rows=3).compress(replace(exported, export=ForTensorRT()), tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    points = [constants[node.input[2]] for node in pairs]
    assert pairs
    assert {point.data_type for point in points} == {TensorProto.INT8}
    assert not any(numpy_helper.to_array(point).any() for point in points)
    assert {node.op_type for node in graph.node if node.input[0] in {pair.output[0] for pair in pairs}} >= {
        "MatMul"
    }
    assert count_widths(tmp_path).embeddings == {32: 259 * 64}


def test_tensorrt_builds_an_engine_from_qdq_pairs(exported: Exported, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from framework.build.export.tensorrt import Sizes, TensorRT

    exporter = TensorRT(length=Sizes(opt=16, max=64))
    Int8Static(calibration_rows=3).compress(replace(exported, export=exporter), tmp_path)
    exporter.finish(tmp_path, tmp_path / "cache")
    assert len(list(tmp_path.glob("*.engine"))) == 1


@pytest.mark.slow
def test_language_model_keeps_its_cache(export_of: Callable[..., Exported], tmp_path: Path) -> None:
    exported = export_of(TinyCausalLM(name="tiny", license="x", parameters=1e5), Onnx())
    Int8Static(calibration_rows=4).compress(exported, tmp_path)
    engine, reference = (
        open_engine(name, folder) for name, folder in (("onnxruntime", tmp_path), ("torch", exported.source))
    )
    rows = [[5, 6, 7, 8, 9, 10], [70, 80, 90]]
    wanted, given = (np.concatenate(opened.logits(rows)) for opened in (reference, engine))
    assert 0 < np.abs(wanted - given).mean() < 0.1 * wanted.std()
    assert len(list(engine.generate(rows[0], 4, Sampling(past_end=True)))) == 4
    assert count_widths(tmp_path).share(8) == 1.0


def without_rows(exported: Exported, folder: Path) -> Exported:
    return replace(exported, data=folder)


def corrupt(exported: Exported, folder: Path) -> Exported:
    whole = (exported.folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    return replace(exported, folder=folder)


def with_an_unknown_operator(exported: Exported, folder: Path) -> Exported:
    import onnx

    model = onnx.load(exported.folder / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "Gelu").op_type = "Swirl"
    onnx.save(model, folder / "model.onnx")
    return replace(exported, folder=folder)


def with_an_input_of_its_own(exported: Exported, folder: Path) -> Exported:
    import onnx

    model = onnx.load(exported.folder / "model.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1, 3]))
    onnx.save(model, folder / "model.onnx")
    return replace(exported, folder=folder)


@pytest.mark.parametrize("option", [Int8Static(), Int8Dynamic()], ids=lambda option: option.label)
@pytest.mark.parametrize(
    ("broken", "reason"), [(corrupt, "onnx cannot read it"), (with_an_unknown_operator, "Swirl")]
)
def test_broken_graph_is_one_line_and_leaves_no_file(
    exported: Exported,
    tmp_path: Path,
    option: ExportCompression,
    broken: Callable[[Exported, Path], Exported],
    reason: str,
) -> None:
    given, output = tmp_path / "given", tmp_path / "output"
    given.mkdir()
    output.mkdir()
    with pytest.raises(StepError, match=reason) as caught:
        option.compress(broken(exported, given), output)
    assert "\n" not in str(caught.value)
    assert not (output / "model.onnx").exists()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (without_rows, "set compression=int8-dynamic"),
        (with_an_input_of_its_own, "has the input pixels"),
    ],
)
def test_unquantizable_export_is_one_line_and_leaves_no_graph(
    exported: Exported, tmp_path: Path, broken: Callable[[Exported, Path], Exported], reason: str
) -> None:
    given, output = tmp_path / "given", tmp_path / "output"
    given.mkdir()
    output.mkdir()
    with pytest.raises(FrameworkError, match=reason) as caught:
        Int8Static().compress(broken(exported, given), output)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, StepError)
    assert not (output / "model.onnx").exists()
