"""TensorRT engines: TensorRT-RTX builds them on any machine; running one requires its GPU."""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.engine import open_engine, tensorrt
from framework.build.engine.tensorrt import architecture_here
from framework.build.export.tensorrt import Sizes, TensorRT
from framework.build.export.tensorrt_builder import EngineOrder, build_engine, profile_of
from framework.build.stages.export import ExportModel
from framework.core.errors import ServeError, StepError
from framework.core.step import Step, Workspace

trt = pytest.importorskip("tensorrt_rtx")

SHORT = Sizes(opt=16, max=32)
AXES = {"batch": (1, 8, 32), "sequence": (1, 16, 32)}


def exporter(**changes: Any) -> TensorRT:
    return TensorRT(**{"length": SHORT, **changes})


@pytest.fixture
def graph(tiny_bert: Path, tmp_path: Path) -> Path:
    """A folder with the output of ``write``: the graph and the model's config."""
    return shutil.copytree(tiny_bert, tmp_path / "model")


@pytest.fixture(scope="module")
def built(tiny_bert: Path, tmp_path_factory: Any) -> Path:
    folder = Path(shutil.copytree(tiny_bert, tmp_path_factory.mktemp("engine") / "model"))
    exporter().finish(folder, tmp_path_factory.mktemp("cache"))
    return folder


def about(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "engine.json").read_text())
    return told


def test_engine_name_has_gpu_and_library(built: Path) -> None:
    (file,) = built.glob("*.engine")
    assert file.name == f"model.sm89.tensorrt-rtx-{trt.__version__}.engine"
    told = about(built)
    assert told["engine"] == file.name
    assert told["version"] == trt.__version__
    assert told["profile"] == {"batch": [1, 8, 32], "length": [1, 16, 32]}
    # The engine is complete: the library reports a missing GPU, not a broken file.
    _, faults = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR)).get_engine_validity(file.read_bytes())
    assert not faults & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
    assert not faults & int(trt.EngineInvalidityDiagnostics.VERSION_MISMATCH)


def test_same_settings_give_the_same_engine(built: Path, graph: Path, tmp_path: Path) -> None:
    exporter().finish(graph, tmp_path)
    assert about(graph) == about(built)
    assert (graph / about(graph)["engine"]).read_bytes() == (built / about(built)["engine"]).read_bytes()


@pytest.mark.parametrize("architecture", ["sm80", "sm86", "sm120", "sm121"])
def test_another_gpu_has_another_engine(built: Path, graph: Path, architecture: str, tmp_path: Path) -> None:
    exporter(architecture=architecture).finish(graph, tmp_path)
    (file,) = graph.glob("*.engine")
    assert f".{architecture}." in file.name
    assert file.read_bytes() != (built / about(built)["engine"]).read_bytes()


def test_graph_is_evaluated_without_a_gpu(tiny_bert: Path, built: Path) -> None:
    import numpy as np

    assert exporter().engine_on("cpu") == "onnxruntime"
    assert exporter().engine_on("cuda") == "tensorrt"
    rows = [[5, 6, 7], [8] * 20]
    given = open_engine("onnxruntime", built).classify(rows)
    assert np.abs(given - open_engine("torch", tiny_bert).classify(rows)).max() < 1e-4


def test_every_setting_enters_the_key() -> None:
    choices = [
        {},
        {"architecture": "sm80"},
        {"batch": Sizes(opt=8, max=16)},
        {"length": Sizes(opt=8, max=32)},
        {"tf32": True},
        {"runtime": "tensorrt-rtx", "opset": 19},
    ]
    steps = [Step("export", ExportModel(export=exporter(**choice))) for choice in choices]
    assert len({step.key for step in steps}) == len(choices)
    assert steps[0].identity()["libraries"]["tensorrt-rtx-cu13"]


def profiled(folder: Path, axes: Any) -> Any:
    """Return the names of a graph's inputs, and the sizes of its optimization profile."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse_from_file(str(folder / "model.onnx"))
    names = [network.get_input(index).name for index in range(network.num_inputs)]
    return names, profile_of(EngineOrder("tensorrt-rtx", "sm89", axes, tf32=False), builder, network)


def test_profile_has_the_configured_sizes(tiny_bert: Path) -> None:
    names, profile = profiled(tiny_bert, exporter().axes())
    assert set(names) == {"input_ids", "attention_mask", "token_type_ids"}
    for name in names:
        assert [tuple(shape) for shape in profile.get_shape(name)] == [(1, 1), (8, 16), (32, 32)]


def test_length_beyond_the_context_is_rejected(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"export\.length\.max: 64 .*set export\.length\.max=32$"):
        exporter(length=Sizes(opt=16, max=64)).finish(graph, tmp_path)
    assert not list(graph.glob("*.engine"))


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    node = helper.make_node("Einstein", ["input_ids"], ["logits"], domain="com.example")
    given = helper.make_tensor_value_info("input_ids", TensorProto.FLOAT, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence"])
    model = helper.make_model(
        helper.make_graph([node], "g", [given], [logits]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)],
    )
    save(model, tmp_path / "model.onnx")
    with pytest.raises(StepError, match=r"does not support the graph \(Einstein: .*set export=onnx"):
        exporter().finish(tmp_path, tmp_path)
    assert not list(tmp_path.glob("*.engine"))


def test_broken_graph_is_rejected(graph: Path, tmp_path: Path) -> None:
    (graph / "model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(StepError, match="export=tensorrt: tensorrt-rtx does not support the graph"):
        exporter().finish(graph, tmp_path)


def test_axis_without_sizes_is_rejected(tiny_bert: Path, tmp_path: Path) -> None:
    order = EngineOrder("tensorrt-rtx", "sm89", {"batch": (1, 2, 4)}, tf32=False)
    with pytest.raises(StepError, match="the dynamic axis 'sequence' of the input input_ids"):
        build_engine(order, tiny_bert / "model.onnx", tmp_path, tmp_path)


def test_unknown_architecture_is_rejected() -> None:
    with pytest.raises(ValidationError, match="sm42"):
        TensorRT(architecture="sm42")  # type: ignore[arg-type]  # there is none
    with pytest.raises(ValidationError, match=r"not sm90; set export\.runtime=tensorrt"):
        TensorRT(architecture="sm90")
    with pytest.raises(ValidationError, match="ascending order"):
        Sizes(min=8, opt=4, max=16)


def test_impossible_settings_are_reported_by_the_plan() -> None:
    assert exporter().problems("cpu", 32) == []
    (long,) = exporter().problems("cpu", 512)
    assert long.overrides == ("export.length.max=512", "data.max_length=32")
    (no_gpu,) = TensorRT(runtime="tensorrt").problems("cpu", 32)
    assert no_gpu.overrides == ("export.runtime=tensorrt-rtx",)
    assert TensorRT(runtime="tensorrt").problems("cuda", 32) == []


@pytest.mark.skipif(architecture_here() is not None, reason="this machine has a GPU")
def test_engine_for_another_gpu_is_rejected(built: Path) -> None:
    with pytest.raises(ServeError, match=r"GPU of sm89.*; set export=onnx"):
        open_engine("tensorrt", built)


def test_wrong_gpu_is_named_with_its_override(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "architecture_here", lambda: "sm86")
    with pytest.raises(ServeError, match=r"GPU of sm89.* sm86; set export\.architecture=sm86"):
        open_engine("tensorrt", built)


def test_engine_of_another_version_is_rejected(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "architecture_here", lambda: "sm89")
    folder = Path(shutil.copytree(built, tmp_path / "old"))
    (folder / "engine.json").write_text(json.dumps(about(built) | {"version": "1.0.0.1"}))
    with pytest.raises(ServeError, match=r"tensorrt-rtx-cu13==1\.0\.0\.1"):
        open_engine("tensorrt", folder)


def test_broken_engine_is_rejected(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "architecture_here", lambda: "sm89")
    folder = Path(shutil.copytree(built, tmp_path / "broken"))
    (folder / about(built)["engine"]).write_bytes(b"no engine at all")
    with pytest.raises(ServeError, match="tensorrt-rtx-cu13 cannot read it"):
        open_engine("tensorrt", folder)


def test_folder_without_an_engine_is_rejected(tiny_bert: Path) -> None:
    with pytest.raises(ServeError, match="export=tensorrt"):
        open_engine("tensorrt", tiny_bert)


def test_tensorrt_builds_only_on_its_gpu(graph: Path, tmp_path: Path) -> None:
    """The full library may be missing: only the check before it is tested."""
    order = EngineOrder("tensorrt", "sm89", AXES, tf32=False)
    try:
        import_module("tensorrt")
    except ImportError:
        with pytest.raises(StepError, match=r"export.runtime=tensorrt: .*pip install 'gitune\[gpu\]'"):
            build_engine(order, graph / "model.onnx", tmp_path, tmp_path)


def test_decoder_cache_is_bound_to_the_engine(tiny_onnx: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_onnx, tmp_path / "model"))
    exporter().finish(folder, tmp_path)
    assert (folder / about(folder)["engine"]).stat().st_size > (folder / "model.onnx").stat().st_size
    network, profile = profiled(tiny_onnx, exporter().axes())
    heads, size = 2, 16
    shapes = {name: [tuple(shape) for shape in profile.get_shape(name)] for name in network}
    assert shapes["input_ids"] == [(1, 1), (8, 16), (32, 32)]
    assert shapes["attention_mask"] == [(1, 1), (8, 32), (32, 64)]
    for layer in range(2):
        for part in ("key", "value"):
            kept = [(rows, heads, past, size) for rows, past in ((1, 0), (8, 16), (32, 32))]
            assert shapes[f"past_key_values.{layer}.{part}"] == kept


def test_decoder_requires_single_token_steps(tiny_onnx: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_onnx, tmp_path / "model"))
    with pytest.raises(StepError, match=r"set export.batch.min=1 export.length.min=1"):
        exporter(length=Sizes(min=2, opt=16, max=32)).finish(folder, tmp_path)


@pytest.mark.gpu
def test_engine_matches_pytorch(tiny_bert: Path, tmp_path: Path) -> None:
    import numpy as np

    here = architecture_here()
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    exporter(architecture=here, batch=Sizes(min=2, opt=2, max=4)).finish(folder, tmp_path)
    rows = [[5, 6, 7], [8] * 20, [9], [10, 11], [12] * 32]
    given = open_engine("tensorrt", folder).classify(rows)
    assert np.abs(given - open_engine("torch", tiny_bert).classify(rows)).max() < 1e-2
    with pytest.raises(ServeError, match=r" 32; .*export.length.max=33"):
        open_engine("tensorrt", folder).classify([[5] * 33])


@pytest.mark.gpu
def test_decoder_engine_matches_pytorch(tiny_onnx: Path, tiny_llama: Path, tmp_path: Path) -> None:
    import numpy as np

    folder = Path(shutil.copytree(tiny_onnx, tmp_path / "model"))
    exporter(architecture=architecture_here(), batch=Sizes(opt=1, max=2)).finish(folder, tmp_path)
    rows = [[5, 6, 7], [8] * 20, [9]]
    engine, wanted = open_engine("tensorrt", folder), open_engine("torch", tiny_llama)
    for given, right in zip(engine.logits(rows), wanted.logits(rows), strict=True):
        assert np.abs(given - right).max() < 1e-2
    assert list(engine.generate(rows[0], 12)) == list(wanted.generate(rows[0], 12))


def test_stage_exports_and_builds_the_engine(tiny_bert: Path, tmp_path: Path) -> None:
    output = tmp_path / "store" / "export" / "key"
    output.mkdir(parents=True)
    scratch = tmp_path / "store" / "scratch" / "key"
    ExportModel(export=exporter()).run({"model": tiny_bert}, output, Workspace(scratch))
    assert {"model.onnx", "engine.json", about(output)["engine"], "tokenizer.json"} <= {
        path.name for path in output.iterdir()
    }
