import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.engine import Classifies, Sampling, open_engine, require
from framework.core.errors import ServeError

pytest.importorskip("openvino")
ROWS = [[3, 4, 5, 6, 7, 8], [9], [10] * 40, [50, 51]]


@pytest.fixture(scope="module")
def engine(tiny_openvino: Path) -> Any:
    return open_engine("openvino", tiny_openvino, 1)


@pytest.fixture(scope="module")
def reference(tiny_llama: Path) -> Any:
    return open_engine("torch", tiny_llama, 1)


def test_logits_equal_those_of_torch(engine: Any, reference: Any) -> None:
    """Padded batches too; OpenVINO's default, an 8-bit cache, would fail here."""
    for ours, theirs in zip(engine.logits(ROWS), reference.logits(ROWS), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.2, top_p=0.9, seed=5)])
@pytest.mark.parametrize("prompt", [[0, 5, 6, 7], [9], [20, 30, 40, 50, 60]])
def test_greedy_and_sampled_answers_equal_those_of_torch(
    engine: Any, reference: Any, prompt: list[int], sampling: Sampling
) -> None:
    expected = list(reference.generate(prompt, 24, sampling))
    assert expected
    assert list(engine.generate(prompt, 24, sampling)) == expected


def test_each_answer_has_its_own_state(engine: Any) -> None:
    prompts = [[0, 5, 6, 7], [20, 30, 40]]
    alone = [list(engine.generate(prompt, 8)) for prompt in prompts]
    turns = list(zip(*(engine.generate(prompt, 8) for prompt in prompts), strict=False))
    assert len(turns) > 3
    for answer, tokens in zip(alone, zip(*turns, strict=True), strict=True):
        assert list(tokens) == answer[: len(turns)]


def test_batched_prompts_get_the_answers_of_single_ones(engine: Any) -> None:
    prompts, past_end = [[0, 5, 6, 7], [20, 30, 40, 50]], Sampling(past_end=True)
    alone = [list(engine.generate(prompt, 8, past_end)) for prompt in prompts]
    assert [list(tokens) for tokens in zip(*engine.generate_together(prompts, 8), strict=True)] == alone


def test_answers_end_at_the_context_length(engine: Any) -> None:
    assert len(list(engine.generate([5] * 250, 100))) <= 6
    with pytest.raises(ServeError, match=r"300 tokens.* 256;"):
        list(engine.generate([5] * 300, 1))


def test_language_model_does_not_classify(engine: Any) -> None:
    with pytest.raises(ServeError, match="openvino engine cannot classify"):
        require(engine, Classifies)


def break_graph(folder: Path) -> None:
    (folder / "openvino_model.xml").write_text("not a graph")


def cut_graph(folder: Path) -> None:
    text = (folder / "openvino_model.xml").read_text()
    (folder / "openvino_model.xml").write_text(text[: len(text) // 2])


def cut_weights(folder: Path) -> None:
    weights = (folder / "openvino_model.bin").read_bytes()
    (folder / "openvino_model.bin").write_bytes(weights[: len(weights) // 2])


def lose_weights(folder: Path) -> None:
    (folder / "openvino_model.bin").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_graph, r"openvino_model\.xml: OpenVINO cannot open it: "),
        (cut_graph, r"openvino_model\.xml: OpenVINO cannot open it: "),
        (cut_weights, r"openvino_model\.xml: OpenVINO cannot open it: "),
        (lose_weights, r"openvino_model\.bin: no such file; fetch or export the model again"),
    ],
)
def test_broken_folder_is_reported_in_one_line(
    tiny_openvino: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    folder = shutil.copytree(tiny_openvino, tmp_path / "model")
    spoil(folder)
    with pytest.raises(ServeError, match=message) as caught:
        open_engine("openvino", folder)
    assert "\n" not in str(caught.value)


def test_graph_of_another_exporter_is_rejected(tmp_path: Path) -> None:
    import openvino
    import openvino.opset13 as ops

    given = ops.parameter([-1, 3], np.float32, name="pixels")
    openvino.save_model(openvino.Model([ops.relu(given)], [given]), tmp_path / "openvino_model.xml")
    with pytest.raises(ServeError, match="not written by export=openvino"):
        open_engine("openvino", tmp_path)
