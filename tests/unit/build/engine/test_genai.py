import shutil

import pytest

from framework.build.engine import Classifies, Sampling, open_engine, require
from framework.core.errors import ServeError

ROWS = [[3, 4, 5, 6, 7, 8], [9], [10] * 40, [50, 51]]


@pytest.fixture(scope="module")
def engine(tiny_genai):
    return open_engine("genai", tiny_genai, 1)


@pytest.fixture(scope="module")
def reference(tiny_llama):
    return open_engine("torch", tiny_llama, 1)


def test_logits_equal_those_of_torch(engine, reference) -> None:
    import numpy as np

    for ours, theirs in zip(engine.logits(ROWS), reference.logits(ROWS), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-3


@pytest.mark.parametrize("prompt", [[0, 5, 6, 7], [9], [20, 30, 40, 50, 60]])
def test_greedy_answers_equal_those_of_torch(engine, reference, prompt) -> None:
    expected = list(reference.generate(prompt, 24))
    assert expected
    assert list(engine.generate(prompt, 24)) == expected


def test_generate_respects_its_limits(engine) -> None:
    assert list(engine.generate([0, 5], 0)) == []
    assert len(list(engine.generate([0, 5], 3))) == 3
    assert len(list(engine.generate([5] * 250, 100))) <= 6
    with pytest.raises(ServeError, match=r"300 tokens.* 256;"):
        list(engine.generate([5] * 300, 1))


def test_seed_repeats_a_sample_and_small_top_p_is_greedy(engine) -> None:
    warm = Sampling(temperature=1.5, seed=3)
    drawn = list(engine.generate([0, 5, 6], 12, warm))
    assert drawn == list(engine.generate([0, 5, 6], 12, warm))
    assert drawn != list(engine.generate([0, 5, 6], 12, Sampling(temperature=1.5, seed=4)))
    greedy = list(engine.generate([0, 5, 6], 12))
    assert list(engine.generate([0, 5, 6], 12, Sampling(1.5, top_p=1e-6))) == greedy


def test_folder_without_weights_is_rejected_in_one_line(tiny_genai, tmp_path) -> None:
    with pytest.raises(ServeError, match=r"has no genai_config\.json"):
        open_engine("genai", tmp_path)
    folder = shutil.copytree(tiny_genai, tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ServeError, match="onnxruntime-genai cannot open it") as caught:
        open_engine("genai", folder)
    assert "\n" not in str(caught.value)


def test_runtime_error_is_one_line(engine) -> None:
    beyond = [10**6]  # no such token
    for call in (lambda: list(engine.generate(beyond, 4)), lambda: engine.logits([beyond])):
        with pytest.raises(ServeError, match="onnxruntime-genai cannot run it") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_decoder_does_not_classify(engine) -> None:
    with pytest.raises(ServeError, match="genai engine cannot classify"):
        require(engine, Classifies)
