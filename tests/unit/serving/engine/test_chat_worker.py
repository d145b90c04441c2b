import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from framework.build.engine import guidance, open_engine
from framework.serving.api_error import ApiError
from framework.serving.engine.chat_worker import ChatWorker
from framework.serving.engine.model_worker import Settings

CALL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "tools": [],
    "limit": [40, True],
    "stops": [],
    "sampling": {"temperature": 2.0, "top_p": 1.0, "seed": 1},
}
GREEDY = {"temperature": 0.0, "top_p": 1.0, "seed": None}


@pytest.fixture(scope="module")
def opened(tiny_genai: Path) -> ChatWorker:
    return ChatWorker(Settings(str(tiny_genai), "genai", "causal-lm", 1, 4, 0.01))


@pytest.fixture
def worker(opened: ChatWorker) -> ChatWorker:
    opened.context = 256
    return opened


def answered(worker: ChatWorker, *calls: dict[str, Any], after_step: Callable[[int], object] = print) -> list:
    """Let *worker* answer *calls* together; return each one's events."""
    events: list[list[dict[str, Any]]] = [[] for _ in calls]
    for number, call in enumerate(calls):
        worker.add(number, worker.read({**CALL, **call}))
    step = 0
    while worker.patience() is not None:
        for number, event in worker.step().events:
            events[number].append(dict(event))
        after_step(step)
        step += 1
    return events


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("text", "") for event in events)


def test_answers_together_equal_answers_alone(worker: ChatWorker) -> None:
    calls = [
        {"messages": [{"role": "user", "content": word}], "sampling": GREEDY, "limit": [10 + 2 * place, True]}
        for place, word in enumerate(("a", "bb", "c c", "d", "e", "f"))
    ]
    alone = [answered(worker, call)[0] for call in calls]
    together = answered(worker, *calls)
    assert [text(events) for events in together] == [text(events) for events in alone]
    assert [events[-1] for events in together] == [events[-1] for events in alone]
    assert len({text(events) for events in alone}) > 3


def test_canceled_answer_ends_and_others_go_on(worker: ChatWorker) -> None:
    def cancel(step: int) -> None:
        if step == 3:
            worker.cancel(1)
            worker.cancel(7)  # never came

    first, canceled, third = answered(
        worker, CALL, {"sampling": {**GREEDY, "temperature": 2.0, "seed": 1}}, CALL, after_step=cancel
    )
    assert "finish_reason" in first[-1]
    assert text(first) == text(third), "one seed, one answer"
    assert 0 < len(canceled) <= 5
    assert "finish_reason" not in canceled[-1]


def test_answer_at_its_limit_reports_length(worker: ChatWorker) -> None:
    (events,) = answered(worker, {"limit": [2, True]})
    assert "prompt_tokens" in events[0]
    assert events[-1] == {"finish_reason": "length", "completion_tokens": 2}


def test_stop_text_ends_the_answer_at_once(worker: ChatWorker) -> None:
    (whole,) = answered(worker, CALL)
    stop = text(whole)[3:5]
    (events,) = answered(worker, {"stops": [stop]})
    assert text(events) == text(whole)[: text(whole).index(stop)]
    assert events[-1]["finish_reason"] == "stop"
    assert events[-1]["completion_tokens"] < whole[-1]["completion_tokens"]


def test_default_limit_is_the_rest_of_the_context(worker: ChatWorker) -> None:
    worker.context = 30
    (events,) = answered(worker, {"limit": [40, False]})
    assert events[-1]["completion_tokens"] <= 30 - events[0]["prompt_tokens"]
    with pytest.raises(ApiError, match="the answer needs 40") as refusal:
        worker.read(CALL)
    assert refusal.value.status == 400


def test_what_the_template_ignores_is_refused(worker: ChatWorker) -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    asked = {"role": "assistant", "content": "", "tool_calls": [tool]}
    for change, param in (
        ({"tools": [tool]}, "tools"),
        ({"messages": [*CALL["messages"], asked]}, "messages"),
    ):
        with pytest.raises(ApiError) as refusal:
            worker.read({**CALL, **change})
        assert (refusal.value.status, refusal.value.param) == (400, param)
    users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    own, worker.tokenizer.chat_template = worker.tokenizer.chat_template, users
    try:
        with pytest.raises(ApiError, match="'system'"):
            worker.read({**CALL, "messages": [{"role": "system", "content": "s"}, *CALL["messages"]]})
        worker.tokenizer.chat_template = own + "{{ tools }}{{ messages[-1].tool_calls }}"
        assert worker.read({**CALL, "tools": [tool]}).ids
    finally:
        worker.tokenizer.chat_template = own


def test_waiting_answers_fill_a_batch_before_it_starts(worker: ChatWorker) -> None:
    """An engine whose batch cannot be joined would otherwise begin with one row."""
    worker.settings = replace(worker.settings, batch_timeout=60)
    try:
        for number in range(worker.width):
            assert worker.patience() is None if number == 0 else worker.patience() > 50
            worker.add(number, worker.read(CALL))
        assert worker.patience() == 0
        assert worker.step().full
    finally:
        for number in range(worker.width):
            worker.cancel(number)
        worker.settings = replace(worker.settings, batch_timeout=0.01)
    assert worker.patience() is None


def test_warm_up_measures_a_rate(worker: ChatWorker, tiny_genai: Path) -> None:
    assert worker.warm_up() > 1
    assert worker.patience() is None
    prompt = worker.read({**CALL, "sampling": GREEDY})
    tokens = list(open_engine("genai", tiny_genai, 1).generate(prompt.ids, 40))
    (events,) = answered(worker, {"sampling": GREEDY})
    assert events[-1]["completion_tokens"] == len(tokens)


def test_answer_whose_grammar_fails_is_refused_and_the_next_goes_on(tiny_llama: Path, monkeypatch) -> None:
    monkeypatch.setattr(guidance, "_LIMITS", {"step_lexer_fuel": 300})
    worker = ChatWorker(Settings(str(tiny_llama), "torch", "causal-lm", 1, 1, 0.01))
    schema = {"type": "string", "pattern": "^(.*a.{20}b.*c.{20})+$"}
    hard = {**GREEDY, "grammar": [["schema", json.dumps(schema)]]}
    failed, next_one = answered(worker, {"sampling": hard}, {"sampling": GREEDY})
    assert failed[-1]["status"] == 400
    assert failed[-1]["error"]["param"] == "response_format"
    assert text(next_one)
