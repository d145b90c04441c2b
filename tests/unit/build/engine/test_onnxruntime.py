import pytest

from framework.build.engine import (
    Classifies,
    ClassifiesImages,
    Generates,
    GivesLogits,
    Sampling,
    open_engine,
    require,
)
from framework.core.errors import ServeError

ROWS = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 3]]


@pytest.fixture(scope="module")
def decoder(tiny_onnx):
    return open_engine("onnxruntime", tiny_onnx, 1)


@pytest.fixture(scope="module")
def reference(tiny_llama):
    return open_engine("torch", tiny_llama, 1)


def test_scores_equal_those_of_torch(tiny_bert) -> None:
    import numpy as np

    expected = open_engine("torch", tiny_bert, 1).classify(ROWS)
    found = open_engine("onnxruntime", tiny_bert, 1).classify(ROWS)
    assert found.dtype == np.float32
    assert np.ptp(expected, axis=0).min() > 0.01, "the rows must differ, or padding would go unnoticed"
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_engine_has_only_its_models_capabilities(tiny_bert, decoder) -> None:
    classifier = open_engine("onnxruntime", tiny_bert, 1)
    assert require(classifier, Classifies) is classifier
    assert require(decoder, Generates) is decoder
    for engine, capability in (
        (classifier, Generates),
        (classifier, GivesLogits),
        (decoder, Classifies),
        (decoder, ClassifiesImages),
    ):
        with pytest.raises(ServeError, match=r"onnxruntime.*; open "):
            require(engine, capability)


def test_decoder_logits_equal_those_of_torch(decoder, reference) -> None:
    import numpy as np

    rows = [[3, 4, 5, 6, 7, 8], [9], [10] * 40, [50, 51]]
    for ours, theirs in zip(decoder.logits(rows), reference.logits(rows), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.2, top_p=0.9, seed=5)])
@pytest.mark.parametrize("prompt", [[0, 5, 6, 7], [9], [20, 30, 40, 50, 60]])
def test_greedy_and_sampled_answers_equal_those_of_torch(decoder, reference, prompt, sampling) -> None:
    expected = list(reference.generate(prompt, 24, sampling))
    assert expected
    assert list(decoder.generate(prompt, 24, sampling)) == expected


def test_two_answers_can_be_generated_in_turns(decoder) -> None:
    prompts = [[0, 5, 6, 7], [20, 30, 40]]
    alone = [list(decoder.generate(prompt, 8)) for prompt in prompts]
    turns = list(zip(*(decoder.generate(prompt, 8) for prompt in prompts), strict=False))
    assert len(turns) > 3
    for answer, tokens in zip(alone, zip(*turns, strict=True), strict=True):
        assert list(tokens) == answer[: len(turns)]


def test_batched_prompts_get_the_answers_of_single_ones(decoder) -> None:
    prompts, past_end = [[0, 5, 6, 7], [20, 30, 40, 50]], Sampling(past_end=True)
    alone = [list(decoder.generate(prompt, 8, past_end)) for prompt in prompts]
    assert [list(tokens) for tokens in zip(*decoder.generate_together(prompts, 8), strict=True)] == alone


def test_answers_end_at_the_context_length(decoder) -> None:
    assert len(list(decoder.generate([5] * 250, 100))) <= 6
    with pytest.raises(ServeError, match=r"300 tokens.* 256;"):
        list(decoder.generate([5] * 300, 1))


def test_graph_with_unknown_inputs_is_rejected(tmp_path) -> None:
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("pixels", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["y"])], "g", values[:1], values[1:])
    opset = [helper.make_opsetid("", 20)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(ServeError, match="unknown inputs pixels;"):
        open_engine("onnxruntime", tmp_path)


def test_missing_or_broken_graph_is_reported_in_one_line(tmp_path) -> None:
    with pytest.raises(ServeError, match="no such file"):
        open_engine("onnxruntime", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ServeError, match="ONNX Runtime cannot open it") as caught:
        open_engine("onnxruntime", tmp_path)
    assert "\n" not in str(caught.value)
