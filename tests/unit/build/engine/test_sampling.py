"""What each engine does with penalties, biases, bounds and log probabilities."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.build.engine import Batches, Progress, Sampling, open_engine
from framework.build.engine.batches import open_batches
from framework.build.engine.decoding import choose, with_penalties
from framework.build.engine.sampling import ALL, BASIC
from framework.core.errors import ServeError
from framework.serving.engine.tokenization import open_tokenizer

PROMPT = [0, 5, 6, 7, 8]
MINE = Sampling(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((3, 2.0),))


def answer(batches: Batches, sampling: Sampling, tokens: int = 16) -> list[Progress]:
    assert batches.refuses(sampling) is None
    batches.submit(1, PROMPT, tokens, sampling)
    steps: list[Progress] = []
    while not steps or not steps[-1].ended:
        steps += batches.step()
    return steps


def tokens_of(steps: Sequence[Progress]) -> list[int]:
    return [token for step in steps for token in step.tokens]


def opened(name: str, folder: Path) -> Batches:
    if name == "openvino":
        pytest.importorskip("openvino_genai")
    return open_batches(name, folder, 1, 4)


@pytest.fixture(params=["torch", "genai", "openvino"])
def batches(request: pytest.FixtureRequest) -> tuple[str, Batches]:
    fixture = {"torch": "tiny_llama"}.get(request.param, f"tiny_{request.param}")
    return request.param, opened(request.param, request.getfixturevalue(fixture))


def test_penalties_are_what_their_names_say() -> None:
    scores = np.asarray([1.0, -1.0, 2.0, 0.5, 0.0], np.float32)
    changed = with_penalties(scores, [1], [2, 2], MINE)
    assert changed.tolist() == pytest.approx([1.0, -1.3, 2.0 / 1.3 - 0.5 - 0.5, 2.5, 0.0])
    assert with_penalties(scores, [1], [2, 2], Sampling()) is scores


def test_top_k_and_min_p_bound_the_draw() -> None:
    logits, random = np.log(np.asarray([0.5, 0.3, 0.15, 0.05])), np.random.default_rng(0)
    for sampling, allowed in (
        (Sampling(1.0, top_k=2), {0, 1}),
        (Sampling(1.0, min_p=0.25), {0, 1, 2}),
        (Sampling(1.0, top_k=3, top_p=0.6), {0, 1}),
    ):
        assert {choose(logits, sampling, random) for _ in range(400)} == allowed


def test_a_sampling_survives_json() -> None:
    sampling = Sampling(1.0, seed=3, logit_bias=((3, 2.0),), grammar=(("text", "x"), ("schema", "{}")))
    assert Sampling.of(json.loads(json.dumps(asdict(sampling)))) == sampling


def test_each_engine_does_a_field_or_refuses_it(batches: tuple[str, Batches], tiny_llama: Path) -> None:
    """Where it does it, greedy text equals the reference's, and differs from text without it."""
    name, engine = batches
    reference, plain = opened("torch", tiny_llama), tokens_of(answer(engine, Sampling()))
    done = set()
    for field, value in (
        ("repetition_penalty", 1.8),
        ("presence_penalty", 2.0),
        ("frequency_penalty", 1.5),
        ("logit_bias", ((plain[1], -50.0), (9, 3.0))),
    ):
        changes: dict[str, Any] = {field: value}
        sampling = Sampling(**changes)
        if engine.refuses(sampling) == field:
            continue
        done.add(field)
        got = tokens_of(answer(engine, sampling))
        assert got == tokens_of(answer(reference, sampling)), field
        assert got != plain, field
    assert (
        done
        == {
            "torch": {"repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias"},
            "genai": {"repetition_penalty"},
            "openvino": {"repetition_penalty", "presence_penalty", "frequency_penalty"},
        }[name]
    )


def test_bounds_of_one_token_give_the_greedy_text(batches: tuple[str, Batches]) -> None:
    name, engine = batches
    greedy = tokens_of(answer(engine, Sampling()))
    for sampling in (Sampling(5.0, top_k=1, seed=1), Sampling(5.0, min_p=1.0, seed=1)):
        if name == "genai" and sampling.min_p:
            assert engine.refuses(sampling) == "min_p"
        else:
            assert tokens_of(answer(engine, sampling)) == greedy


def test_end_tokens_are_ignored_if_asked(batches: tuple[str, Batches], tiny_llama: Path) -> None:
    _, engine = batches
    assert len(tokens_of(answer(engine, Sampling(2.0, seed=4, past_end=True), 120))) == 120


def test_log_probabilities_are_the_models(batches: tuple[str, Batches], tiny_llama: Path) -> None:
    name, engine = batches
    if name == "genai":
        assert engine.refuses(Sampling(top_logprobs=0)) == "top_logprobs"
        return
    top = 3 if name == "torch" else 1
    scores = [each for step in answer(engine, Sampling(top_logprobs=top)) for each in step.scores]
    row = [*PROMPT, *(each.token for each in scores)]
    reference: Any = open_engine("torch", tiny_llama, 1)
    logits = reference.logits([row])[0][len(PROMPT) - 1 : -1].astype(np.float64)
    wanted = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    got = np.asarray([each.logprob for each in scores])
    assert np.allclose(got, [line[each.token] for line, each in zip(wanted, scores, strict=True)], atol=1e-3)
    assert {len(each.top) for each in scores} == {top}
    assert scores[0].top[0][0] == int(wanted[0].argmax())
    if name == "openvino":
        assert engine.refuses(Sampling(top_logprobs=2)) == "top_logprobs"
        assert engine.refuses(Sampling(1.0, top_logprobs=0)) == "top_logprobs"


GRAMMAR = (("text", "<call>"), ("schema", '{"enum": ["hello", 7]}'), ("text", "</call>"))


@pytest.mark.parametrize("name", ["torch", "genai", "openvino"])
def test_grammar_is_kept_and_a_broken_one_stops_nobody(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue({"torch": "tiny_llama"}.get(name, f"tiny_{name}"))
    engine, tokenizer = opened(name, folder), open_tokenizer(folder)
    plain = tokens_of(answer(engine, Sampling()))
    said = set()
    for seed in range(4):
        sampling = Sampling(2.0, seed=seed, grammar=GRAMMAR)
        said.add(tokenizer.decode(tokens_of(answer(engine, sampling, 60))))
    assert {json.loads(text.removeprefix("<call>").removesuffix("</call>")) for text in said} <= {"hello", 7}
    engine.submit(7, PROMPT, 16, Sampling())
    steps = engine.step()
    for schema in ('{"type": "nothing"}', '{"$ref": "#/nowhere"}', '{"type": "string", "pattern": "(("}'):
        with pytest.raises(ServeError):
            engine.submit(8, PROMPT, 16, Sampling(grammar=(("schema", schema),)))
        steps += engine.step()
    while not steps[-1].ended:
        steps += engine.step()
    assert tokens_of(steps) == plain


def test_engine_of_a_plugin_knows_the_basic_fields_only() -> None:
    assert Sampling(1.0, 0.5, 3, True).first_beyond(BASIC) is None
    assert {"top_k", "logit_bias", "grammar"} <= ALL - BASIC
