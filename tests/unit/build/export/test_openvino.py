import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export.openvino import OpenVino
from framework.build.model.tiny_encoder import TinyEncoder
from framework.core.errors import StepError
from framework.core.filesystem import tree_digest

pytest.importorskip("openvino")
ROOT = Path(__file__).parents[4]
ROWS = [[5, 6, 7, 8, 9, 10], [70, 80, 90]]
PROBLEMS = ("single-label", "multi-label", "entities")


@pytest.fixture(scope="module", params=PROBLEMS)
def encoder(request: Any, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param)
    option = TinyEncoder(
        name="tiny", license="Apache-2.0", parameters=1e5, problem=request.param, labels=("bad", "good")
    )
    option.materialize(folder, seed=0)
    return folder


def far(one: Path, other: Path) -> float:
    wanted, given = open_engine("torch", one).logits(ROWS), open_engine("openvino", other).logits(ROWS)
    return max(float(np.abs(a - b).max()) for a, b in zip(wanted, given, strict=True))


def size(folder: Path) -> int:
    return (folder / "openvino_model.bin").stat().st_size


@pytest.mark.parametrize("lengths", [(1,), (2, 2), (200,), (3, 64, 1, 17, 9, 30, 8)])
def test_classifiers_match_torch(encoder: Path, tmp_path: Path, lengths: tuple[int, ...]) -> None:
    """Tracing uses two rows of five tokens; padding must not change the result either."""
    OpenVino().write(encoder, tmp_path)
    draw = np.random.default_rng(0)
    rows = [draw.integers(4, 100, length).tolist() for length in lengths]
    reference, engine = open_engine("torch", encoder), open_engine("openvino", tmp_path)
    if encoder.name.startswith("entities"):
        for row, scores in zip(rows, engine.logits(rows), strict=True):
            np.testing.assert_allclose(scores, reference.logits([row])[0], atol=1e-4)
    else:
        given = engine.classify(rows)
        for row, scores in zip(rows, given, strict=True):
            np.testing.assert_allclose(scores, reference.classify([row])[0], atol=1e-4)


def test_cache_is_state_with_beam_index(tiny_openvino: Path) -> None:
    """OpenVINO Model Server and OpenVINO GenAI require this of a language model."""
    import openvino

    graph = openvino.Core().read_model(tiny_openvino / "openvino_model.xml")
    shapes = {port.get_any_name(): str(port.get_partial_shape()) for port in graph.inputs}
    whole = "[?,?]"
    names = ("input_ids", "attention_mask", "position_ids")
    assert shapes == {**dict.fromkeys(names, whole), "beam_idx": "[?]"}
    assert [port.get_any_name() for port in graph.outputs] == ["logits"]
    assert len(graph.get_variables()) == 4  # keys and values of two layers


def test_row_continues_the_state_of_its_beam(tiny_openvino: Path, tiny_llama: Path) -> None:
    import openvino

    compiled = openvino.Core().compile_model(tiny_openvino / "openvino_model.xml", "CPU")
    request = compiled.create_infer_request()
    prompts = np.array([[5, 6, 7], [20, 30, 40]])

    def feed(ids: Any, seen: int, beams: list[int]) -> Any:
        places = np.arange(seen, seen + ids.shape[1])[None].repeat(2, 0)
        mask = np.ones((2, seen + ids.shape[1]), np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
        return request.infer({**given, "beam_idx": np.array(beams, np.int32)})["logits"].copy()

    feed(prompts, 0, [0, 1])
    swapped = feed(np.array([[9], [9]]), 3, [1, 0])
    reference = open_engine("torch", tiny_llama)
    for scores, row in zip(swapped, ([20, 30, 40, 9], [5, 6, 7, 9]), strict=True):
        # OpenVINO's default cache precision is 8 bits.
        np.testing.assert_allclose(scores[-1], reference.logits([row])[0][-1], atol=0.3)


@pytest.mark.parametrize(
    ("precision", "bits", "least", "most", "apart"),
    [("fp16", 16, 0.49, 0.51, 0.1), ("int8", 8, 0.25, 0.3, 0.5), ("int4", 4, 0.13, 0.25, 8.0)],
)
def test_fewer_bits_are_smaller_and_close(
    tiny_llama: Path,
    tiny_openvino: Path,
    tmp_path: Path,
    precision: str,
    bits: int,
    least: float,
    most: float,
    apart: float,
) -> None:
    OpenVino().write(tiny_llama, tmp_path, precision, block_size=32)
    assert least < size(tmp_path) / size(tiny_openvino) < most
    assert count_widths(tmp_path).share(bits) > 0.999
    assert count_widths(tiny_openvino).share(16) == 0.0
    assert 1e-6 < far(tiny_llama, tmp_path) < apart


def test_asymmetric_blocks_are_more_accurate(tiny_llama: Path, tmp_path: Path) -> None:
    apart = []
    for symmetric in (True, False):
        folder = tmp_path / str(symmetric)
        folder.mkdir()
        OpenVino(symmetric=symmetric).write(tiny_llama, folder, "int4", block_size=32)
        apart.append(far(tiny_llama, folder))
    assert apart[1] < apart[0]


def test_indivisible_block_size_suggests_one_that_fits(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(
        StepError, match=r"128 does not divide .* set compression\.int4-weight\.block_size=64"
    ) as caught:
        OpenVino().write(tiny_llama, tmp_path, "int4", block_size=128)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_precision_is_rejected(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="does not support fp8; set compression=int8-weight"):
        OpenVino().write(tiny_llama, tmp_path, "fp8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "sizes", "reason"),
    [
        (
            "Lfm2",
            {"layer_types": ["full_attention", "conv"], "num_hidden_layers": 2},
            "does not keep keys and values of positions",
        ),
        ("Mixtral", {"num_local_experts": 2}, "No conversion rule found for operations: aten::histc"),
    ],
)
def test_unsupported_model_is_one_line(tmp_path: Path, kind: str, sizes: dict[str, Any], reason: str) -> None:
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = getattr(transformers, f"{kind}Config")(vocab_size=50, num_key_value_heads=1, **shape | sizes)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(tmp_path)
    output = tmp_path / "output"
    output.mkdir()
    assert OpenVino().unsupported(json.loads((tmp_path / "config.json").read_text()))
    with pytest.raises(StepError, match=f"export=openvino does not support {kind}ForCausalLM") as caught:
        OpenVino().write(tmp_path, output)
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; set export=transformers")
    assert "\n" not in str(caught.value)
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "config", "sizes"),
    [("Mistral", "", {}), ("Gemma3", "Gemma3TextConfig", {"head_dim": 32, "num_hidden_layers": 6})],
)
def test_sliding_windows_match_torch(
    random_decoder: Any, tmp_path: Path, kind: str, config: str, sizes: dict[str, int]
) -> None:
    """The rows are longer than the window, the example of the trace is shorter."""
    model = random_decoder(kind, config, sliding_window=16, **sizes)
    assert not OpenVino().unsupported(json.loads((model / "config.json").read_text()))
    output = tmp_path / "output"
    output.mkdir()
    OpenVino().write(model, output)
    reference, engine = open_engine("torch", model), open_engine("openvino", output)
    row = [index % 90 + 5 for index in range(60)]
    np.testing.assert_allclose(engine.logits([row])[0], reference.logits([row])[0], atol=1e-4)
    assert list(engine.generate(row, 20)) == list(reference.generate(row, 20))


def test_folder_is_self_contained_without_local_paths(tiny_llama: Path, tiny_openvino: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tiny_openvino / name).read_bytes() == (tiny_llama / name).read_bytes()
    for path in tiny_openvino.iterdir():
        content = path.read_bytes()
        assert b"/tmp/" not in content, path
        assert str(ROOT).encode() not in content, path


EXPORT = """
import sys
from pathlib import Path
from framework.build.export.openvino import OpenVino
OpenVino().write(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_another_process_exports_the_same_bytes(
    tiny_llama: Path, tiny_openvino: Path, tmp_path: Path
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(tiny_llama), str(tmp_path)]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    assert tree_digest(tmp_path) == tree_digest(tiny_openvino)
