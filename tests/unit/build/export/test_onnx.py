import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.build.compression import Exported
from framework.build.compression.int8_dynamic import Int8Dynamic
from framework.build.engine import open_engine
from framework.build.export.onnx import Onnx
from framework.build.model.tiny_encoder import TinyEncoder
from framework.core.errors import StepError
from framework.core.filesystem import sha256_of, tree_digest

ROOT = Path(__file__).parents[4]
LABELS = ("negative", "neutral", "positive")
MODEL = TinyEncoder(name="bert", license="Apache-2.0", parameters=1e5, labels=LABELS)


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: Any) -> Path:
    """A random BERT whose weights are larger than its graph."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder: Path = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        vocab_size=100,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fp32(model: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("onnx")
    Onnx().write(model, folder)
    return folder


@pytest.fixture(scope="module")
def int8(model: Path, fp32: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("int8")
    Int8Dynamic().compress(Exported(fp32, Onnx(), model, data=model, model=MODEL), folder)
    return folder


def rows(*lengths: int) -> list[list[int]]:
    draw = np.random.default_rng(0)
    return [draw.integers(4, 100, length).tolist() for length in lengths]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("model.onnx*"))


@pytest.mark.parametrize("lengths", [(1,), (2, 2), (5, 5), (64,), (3, 64, 1, 17, 9, 30, 8)])
def test_untraced_shapes_match(model: Path, fp32: Path, lengths: tuple[int, ...]) -> None:
    """Tracing used two rows of five tokens; padding must not change the result either."""
    given = open_engine("onnxruntime", fp32).classify(rows(*lengths))
    alone = [open_engine("torch", model).classify([row])[0] for row in rows(*lengths)]
    assert given.shape == (len(lengths), 3)
    assert float(np.abs(given - np.stack(alone)).max()) < 1e-4


def test_both_axes_are_dynamic(fp32: Path) -> None:
    import onnx

    graph = onnx.load(fp32 / "model.onnx", load_external_data=False).graph
    for given in graph.input:
        axes = [axis.dim_param for axis in given.type.tensor_type.shape.dim]
        assert axes == ["batch", "sequence"]
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_int8_is_smaller_and_close(model: Path, fp32: Path, int8: Path) -> None:
    assert size(int8) < 0.4 * size(fp32)
    batch = rows(3, 20, 40, 60)
    wanted = open_engine("torch", model).classify(batch)
    given = open_engine("onnxruntime", int8).classify(batch)
    assert 0 < float(np.abs(wanted - given).max()) < 0.1
    # With random weights no class dominates, so the direction of the logits is compared.
    cosine = (wanted * given).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(given, axis=1)
    assert float(cosine.min()) > 0.99


def test_int8_matrices_have_eight_bits(int8: Path) -> None:
    import onnx

    graph = onnx.load(int8 / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") + kinds.count("DynamicQuantizeMatMul") >= 12
    big = [tensor for tensor in graph.initializer if np.prod(tensor.dims) >= 128 * 128]
    assert big
    assert {tensor.data_type for tensor in big} == {onnx.TensorProto.INT8}


def test_folders_are_self_contained(model: Path, fp32: Path, int8: Path) -> None:
    for folder in (fp32, int8):
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            assert (folder / name).read_bytes() == (model / name).read_bytes()
        for path in folder.iterdir():
            assert b"/tmp/" not in path.read_bytes(), path


EXPORT = """
import sys
from pathlib import Path
from framework.build.compression import Exported
from framework.build.compression.int8_dynamic import Int8Dynamic
from framework.build.export.onnx import Onnx
from framework.build.model.tiny_encoder import TinyEncoder
model, fp32, int8 = map(Path, sys.argv[1:])
Onnx().write(model, fp32)
named = TinyEncoder(name="bert", license="Apache-2.0", parameters=1e5, labels=("no", "so", "yes"))
Int8Dynamic().compress(Exported(fp32, Onnx(), model, data=model, model=named), int8)
"""


@pytest.mark.slow
def test_another_process_and_folder_export_the_same_bytes(
    model: Path, fp32: Path, int8: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / "fp32", tmp_path / "int8"]
    for output in outputs:
        output.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(model), *map(str, outputs)]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    for before, after in zip((fp32, int8), outputs, strict=True):
        differing = [p.name for p in before.iterdir() if sha256_of(p) != sha256_of(after / p.name)]
        assert differing == []
        assert tree_digest(before) == tree_digest(after)


def test_decoder_has_its_cache_as_inputs_and_outputs(tiny_onnx: Path) -> None:
    import onnx

    graph = onnx.load(tiny_onnx / "model.onnx", load_external_data=False).graph
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    kept = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert axes == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "total"],
        "position_ids": ["batch", "sequence"],
        **{f"past_key_values.{name}": ["batch", 2, "past", 16] for name in kept},
        "logits": ["batch", "sequence", axes["logits"][2]],
        **{f"present.{name}": ["batch", 2, "past + sequence", 16] for name in kept},
    }
    named = {"batch", "sequence", "past", "total"}
    inner = {axis.dim_param for v in graph.value_info for axis in v.type.tensor_type.shape.dim} - {""}
    assert {word for axis in inner for word in re.findall(r"[a-z]\w*", axis)} <= named


def test_left_padded_rows_match_single_rows(tiny_llama: Path, tiny_onnx: Path) -> None:
    """A server that batches prompts of unequal length relies on it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(tiny_onnx / "model.onnx")
    row = [5, 6, 7]
    cache = {
        given.name: np.zeros((2, 2, 0, 16), np.float32)
        for given in session.get_inputs()
        if given.name.startswith("past_key_values.")
    }
    given = {
        "input_ids": np.array([[0, 0, *row], [1, 2, 3, 4, 5]]),
        "attention_mask": np.array([[0, 0, 1, 1, 1], [1] * 5]),
        "position_ids": np.array([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]),
    }
    (scores,) = session.run(["logits"], {**given, **cache})
    alone = open_engine("torch", tiny_llama).logits([row])[0]
    np.testing.assert_allclose(scores[0, 2:], alone, atol=1e-4)


def test_model_without_a_key_value_cache_is_rejected_in_one_line(random_decoder: Any, tmp_path: Path) -> None:
    model = random_decoder("Lfm2", layer_types=["conv", "full_attention"])
    assert "Lfm2" in Onnx().unsupported(json.loads((model / "config.json").read_text()))
    output = tmp_path / "output"
    output.mkdir()
    with pytest.raises(StepError, match="export=onnx does not support Lfm2ForCausalLM") as caught:
        Onnx().write(model, output)
    assert "set export=transformers" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(output.iterdir()) == []


def test_sliding_window_matches_torch(random_decoder: Any, tmp_path: Path) -> None:
    """The row is longer than the window, the example of the trace is shorter."""
    model = random_decoder("Mistral", sliding_window=16, num_hidden_layers=1)
    assert not Onnx().unsupported(json.loads((model / "config.json").read_text()))
    output = tmp_path / "output"
    output.mkdir()
    Onnx().write(model, output)
    reference, engine = open_engine("torch", model), open_engine("onnxruntime", output)
    row = [index % 90 + 5 for index in range(60)]
    np.testing.assert_allclose(engine.logits([row])[0], reference.logits([row])[0], atol=1e-4)
    assert list(engine.generate(row, 20)) == list(reference.generate(row, 20))


def test_untraceable_model_is_rejected_in_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    def branch_on_values(self: Any, input_ids: Any, attention_mask: Any) -> Any:
        if int(input_ids.sum()) > 3:
            raise AssertionError("never traced")
        return self.bert(input_ids)

    monkeypatch.setattr(BertForSequenceClassification, "forward", branch_on_values)
    with pytest.raises(StepError, match="export=onnx does not support BertForSequence") as caught:
        Onnx().write(model, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
