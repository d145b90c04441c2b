"""Every engine that the server generates with, on the same requests."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from framework.build.engine import Batches, Generates, Sampling, open_engine
from framework.build.engine.batches import OneByOne, generate_all, open_batches
from framework.core.errors import ServeError

PROMPTS = [[0, *range(5, 5 + length)] for length in (3, 9, 4, 20, 7, 2)]
Request = tuple[Sequence[int], int, Sampling]


@pytest.fixture(params=["genai", "openvino", "torch"])
def opened(request: pytest.FixtureRequest) -> tuple[Batches, Generates]:
    """An engine that generates for several requests, and the one that evaluation uses."""
    if request.param == "openvino":
        pytest.importorskip("openvino_genai")
    fixture = {"torch": "tiny_llama"}.get(request.param, f"tiny_{request.param}")
    folder: Path = request.getfixturevalue(fixture)
    single: Any = open_engine(request.param, folder, 1)
    return open_batches(request.param, folder, 1, 16), single


def run(batches: Batches, requests: Sequence[Request], cancel: Sequence[int] = ()) -> dict[int, list[int]]:
    """Submit *requests* as there is room, cancel some after three steps; return the tokens of the others."""
    waiting, running = dict(enumerate(requests)), dict[int, list[int]]()
    ended: dict[int, list[int]] = {}
    for step in range(1000):
        while waiting and len(running) < batches.width:
            number = next(iter(waiting))
            batches.submit(number, *waiting.pop(number))
            running[number] = []
        if not running:
            return ended
        for progress in batches.step():
            running[progress.request] += progress.tokens
            if progress.ended:
                ended[progress.request] = running.pop(progress.request)
        for number in cancel if step == 2 else ():
            batches.cancel(number)
            running.pop(number, None)
    pytest.fail("the requests did not end")


def test_answers_equal_those_of_evaluation(opened: tuple[Batches, Generates]) -> None:
    batches, single = opened
    assert isinstance(batches, Batches)
    requests = [(prompt, 24, Sampling()) for prompt in PROMPTS]
    alone = [list(single.generate(*request)) for request in requests]
    assert run(batches, requests) == dict(enumerate(alone))
    assert generate_all(batches, PROMPTS, [24] * len(PROMPTS)) == alone


def test_seed_gives_the_same_answer_in_any_company(opened: tuple[Batches, Generates]) -> None:
    batches, _ = opened

    def sampled(seed: int | None) -> Request:
        return PROMPTS[1], 20, Sampling(temperature=2.0, seed=seed)

    (alone,) = run(batches, [sampled(1)]).values()
    together = run(
        batches, [sampled(2), (PROMPTS[0], 9, Sampling()), sampled(1), sampled(None), sampled(None)]
    )
    assert together[2] == alone
    assert together[0] != alone
    assert together[3] != together[4], "without a seed, answers differ"


def test_canceled_request_leaves_the_others_alone(opened: tuple[Batches, Generates]) -> None:
    batches, single = opened
    requests = [(prompt, 24, Sampling()) for prompt in PROMPTS]

    ended = run(batches, requests, cancel=(0, 1))
    for number, tokens in ended.items():
        assert tokens == list(single.generate(*requests[number]))
    assert set(ended) >= {2, 3, 4, 5}
    assert len(run(batches, requests[:2])) == 2, "the numbers can be used again"


def test_request_joins_a_running_openvino_batch(tiny_openvino: Path) -> None:
    pytest.importorskip("openvino_genai")
    batches = open_batches("openvino", tiny_openvino, 1, 4)
    assert batches.joins
    batches.submit(1, PROMPTS[0], 40, Sampling())
    for _ in range(5):
        batches.step()
    batches.submit(2, PROMPTS[1], 4, Sampling())
    together = [{progress.request for progress in batches.step()} for _ in range(3)]
    assert {1, 2} in together
    batches.cancel(2)
    batches.cancel(1)
    assert batches.step() == []


def test_refused_request_does_not_stop_the_others(tiny_openvino: Path, tiny_genai: Path) -> None:
    pytest.importorskip("openvino_genai")
    for name, folder in (("openvino", tiny_openvino), ("genai", tiny_genai)):
        batches = open_batches(name, folder, 1, 4)
        batches.submit(1, PROMPTS[0], 4, Sampling())
        with pytest.raises(ServeError):
            batches.submit(2, [], 4, Sampling())
        assert {each.request for each in batches.step()} == {1}


def test_engine_without_batches_answers_one_request_after_another(tiny_llama: Path) -> None:
    batches = open_batches("torch", tiny_llama, 1, 16)
    assert isinstance(batches, OneByOne)
    assert (batches.width, batches.step()) == (1, [])


def test_classifier_generates_nothing(tiny_bert: Path) -> None:
    with pytest.raises(ServeError, match="cannot generate text"):
        open_batches("onnxruntime", tiny_bert, 1, 16)


def test_missing_openvino_genai_names_the_extra(tiny_openvino: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(ServeError, match=r"gitune\[openvino\]"):
        open_batches("openvino", tiny_openvino, 1, 4)
