import pytest

from framework.build.engine import Sampling, open_engine
from framework.core.errors import ServeError

ROWS = [[3, 4, 5, 6, 7, 8], [9], [10] * 40, [50, 51]]


@pytest.fixture(scope="module")
def engine(tiny_llama):
    return open_engine("torch", tiny_llama, 1)


def test_padding_does_not_change_logits(engine) -> None:
    import numpy as np

    together = engine.logits(ROWS)
    for row, scores in zip(ROWS, together, strict=True):
        assert scores.shape == (len(row), engine.model.config.vocab_size)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, engine.logits([row])[0], atol=1e-5)


def test_generate_is_greedy(engine) -> None:
    row = [0, 5, 6]
    found = list(engine.generate(row, 12))
    assert found
    for token in found:
        assert token == engine.logits([row])[0][-1].argmax()
        row = [*row, token]


def test_generate_agrees_with_transformers(engine) -> None:
    import torch

    prompt = torch.tensor([[0, 5, 6, 7]])
    whole = engine.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=1
    )
    expected = [int(token) for token in whole[0, 4:] if token != 1]
    assert list(engine.generate([0, 5, 6, 7], 20)) == expected


def test_generate_stops_before_any_end_token(engine, tiny_llama, tmp_path) -> None:
    import json
    import shutil

    unbound = list(engine.generate([0, 5, 6], 8))
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    config = json.loads((folder / "generation_config.json").read_text())
    config["eos_token_id"] = [1, unbound[3]]
    (folder / "generation_config.json").write_text(json.dumps(config))
    first = unbound.index(unbound[3])
    assert list(open_engine("torch", folder, 1).generate([0, 5, 6], 8)) == unbound[:first]


def test_generate_ends_at_the_context_length(engine) -> None:
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


def test_padding_does_not_change_classes(tiny_bert) -> None:
    import numpy as np

    engine = open_engine("torch", tiny_bert, 1)
    rows = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 3]]
    scores = engine.classify(rows)
    assert scores.shape == (3, 3)
    for row, expected in zip(rows, scores, strict=True):
        np.testing.assert_allclose(engine.classify([row])[0], expected, atol=1e-5)


@pytest.mark.parametrize("architectures", ["[]", '["BertForPreTraining"]'])
def test_unsupported_architecture_is_rejected(tmp_path, architectures) -> None:
    (tmp_path / "config.json").write_text(f'{{"architectures": {architectures}}}')
    with pytest.raises(ServeError, match=r"config\.json: .*ForCausalLM"):
        open_engine("torch", tmp_path)
