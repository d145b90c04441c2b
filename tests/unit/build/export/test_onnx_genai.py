import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.compression import Exported
from framework.build.compression.int4_weight import Int4Weight
from framework.build.engine import open_engine
from framework.build.export.onnx_genai import OnnxGenai
from framework.build.model.tiny import TinyCausalLM
from framework.core.errors import StepError
from framework.core.filesystem import sha256_of, tree_digest

ROOT = Path(__file__).parents[4]
ROWS = [[5, 6, 7, 8, 9, 10], [70, 80, 90]]
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
)


def made_of(source: Path, fp32: Path) -> Exported:
    named = TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)
    return Exported(fp32, OnnxGenai(), source, data=source, model=named)


@pytest.fixture(scope="module")
def fp32(tiny_tuned: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("fp32")
    OnnxGenai().write(tiny_tuned, folder)
    return folder


@pytest.fixture(scope="module")
def int4(tiny_tuned: Path, fp32: Path, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("int4")
    Int4Weight(block_size=32).compress(made_of(tiny_tuned, fp32), folder)
    return folder


def far(one: Path, engine: str, other: Path) -> float:
    wanted = open_engine("torch", one).logits(ROWS)
    given = open_engine(engine, other).logits(ROWS)
    return max(float(np.abs(a - b).max()) for a, b in zip(wanted, given, strict=True))


def quantized(folder: Path) -> list[Any]:
    import onnx

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return [node for node in graph.node if node.op_type == "MatMulNBits"]


def attribute(node: Any, name: str) -> int:
    return int(next(given.i for given in node.attribute if given.name == name))


def test_float_is_equal_and_int4_is_close(tiny_tuned: Path, fp32: Path, int4: Path) -> None:
    assert far(tiny_tuned, "genai", fp32) < 1e-3
    assert 1e-3 < far(tiny_tuned, "genai", int4) < 5


def test_int4_weights_have_four_bits(fp32: Path, int4: Path) -> None:
    nodes = quantized(int4)
    # Two layers of q k v (one matrix or three), o, gate, up and down, and the head.
    assert len(nodes) in (2 * 5 + 1, 2 * 7 + 1)
    assert {attribute(node, "bits") for node in nodes} == {4}
    assert {attribute(node, "block_size") for node in nodes} == {32}
    assert quantized(fp32) == []
    sizes = [(folder / "model.onnx.data").stat().st_size for folder in (fp32, int4)]
    # Embedding (259 x 64) and norms stay float; matrices have 4 bits and one scale per block.
    assert sizes[1] < 0.45 * sizes[0]


def test_block_size_is_applied(tiny_tuned: Path, fp32: Path, tmp_path: Path) -> None:
    Int4Weight(block_size=16).compress(made_of(tiny_tuned, fp32), tmp_path)
    assert {attribute(node, "block_size") for node in quantized(tmp_path)} == {16}


@pytest.mark.parametrize("name", COMPANIONS)
def test_folder_is_self_contained(tiny_tuned: Path, fp32: Path, int4: Path, name: str) -> None:
    for folder in (fp32, int4):
        assert (folder / name).read_bytes() == (tiny_tuned / name).read_bytes()
        assert (folder / "genai_config.json").is_file()


def test_runtime_stops_at_the_models_end_token(tiny_tuned: Path, fp32: Path) -> None:
    genai = json.loads((fp32 / "genai_config.json").read_text())["model"]
    own = json.loads((tiny_tuned / "generation_config.json").read_text())
    ends = genai["eos_token_id"]
    assert (ends if isinstance(ends, list) else [ends]) == [own["eos_token_id"]]
    assert genai["context_length"] == 512


def test_export_has_no_local_path(fp32: Path, int4: Path) -> None:
    for folder in (fp32, int4):
        for path in folder.rglob("*"):
            if path.is_file():
                assert b"/tmp/" not in path.read_bytes(), path


EXPORT = """
import sys
from pathlib import Path
from framework.build.export.onnx_genai import OnnxGenai
OnnxGenai().write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_another_process_exports_the_same_bytes(
    tiny_tuned: Path, fp32: Path, int4: Path, tmp_path: Path, precision: str
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(tiny_tuned), str(tmp_path), precision]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    before = {"fp32": fp32, "int4": int4}[precision]
    differing = [path.name for path in before.iterdir() if sha256_of(path) != sha256_of(tmp_path / path.name)]
    assert differing == []
    assert tree_digest(tmp_path) == tree_digest(before)


LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 16, "long_factor": [2.0] * 16}


@pytest.mark.parametrize(
    ("kind", "config", "sizes"),
    [
        ("Gemma2", "", {"head_dim": 32, "sliding_window": 16}),
        ("Gemma3", "Gemma3TextConfig", {"head_dim": 32, "sliding_window": 16, "num_hidden_layers": 6}),
        ("Mistral", "", {"sliding_window": 16}),
        ("Phi3", "", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}),
        ("Phi3", "", {"original_max_position_embeddings": 128, "sliding_window": 16}),
        ("Phi", "", {}),
        ("Nemotron", "", {"head_dim": 32}),
    ],
)
def test_architecture_matches_torch(
    random_decoder: Any, tmp_path: Path, kind: str, config: str, sizes: dict[str, Any]
) -> None:
    """The first row is shorter than the window and the original context, the second longer."""
    model = random_decoder(kind, config, **sizes)
    assert not OnnxGenai().unsupported(json.loads((model / "config.json").read_text()))
    output = tmp_path / "output"
    output.mkdir()
    OnnxGenai().write(model, output)
    reference, engine = open_engine("torch", model), open_engine("genai", output)
    for length in (6, 60):
        row = [index % 90 + 5 for index in range(length)]
        np.testing.assert_allclose(engine.logits([row])[0], reference.logits([row])[0], atol=1e-4)
        assert list(engine.generate(row, 8)) == list(reference.generate(row, 8))


@pytest.mark.parametrize(
    ("architecture", "rope", "named"),
    [
        ("GPT2LMHeadModel", {}, "GPT2LMHeadModel"),
        ("SmolLM3ForCausalLM", {}, "SmolLM3ForCausalLM"),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        ("MistralForCausalLM", {"rope_parameters": {"rope_type": "llama3"}}, "llama3"),
    ],
)
def test_unsupported_model_is_known_by_its_config(
    architecture: str, rope: dict[str, Any], named: str
) -> None:
    assert named in OnnxGenai().unsupported({"architectures": [architecture], **rope})


@pytest.mark.parametrize("config", [{}, {"architectures": None}, {"architectures": ["LlamaModel"]}])
def test_model_without_its_head_is_not_judged(config: dict[str, Any]) -> None:
    assert OnnxGenai().unsupported(config) == ""


def test_supported_architectures_are_those_of_the_builder() -> None:
    import re
    from importlib.util import find_spec

    from framework.build.export.onnx_genai import _ARCHITECTURES

    package = find_spec("onnxruntime_genai")
    assert package is not None
    assert package.origin is not None
    source = (Path(package.origin).parent / "models" / "builder.py").read_text()
    builders = set(re.findall(r'architectures\[0\] == "(\w+)"', source))
    assert {*_ARCHITECTURES} <= builders


def test_unsupported_model_is_one_line(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"export=onnx-genai does not support \['BertForSequence") as caught:
        OnnxGenai().write(tiny_bert, tmp_path)
    assert "\n" not in str(caught.value)
