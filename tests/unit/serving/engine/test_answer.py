"""What becomes of an answer's tokens, when they come one by one."""

from pathlib import Path
from typing import Any

import pytest

from framework.build.engine import Sampling, Scored
from framework.serving.engine.answer import Answer
from framework.serving.engine.prompts import Prompt, Tools
from framework.serving.engine.tokenization import open_tokenizer
from framework.serving.engine.tool_format import ToolFormat

FORM = ToolFormat("<tool_call>\n", "\n</tool_call>", "name", "arguments")
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return open_tokenizer(tiny_llama)


def told(tokenizer: Any, text: str, prompt: Prompt, *, scored: bool = False) -> tuple[list[Any], Answer]:
    """Let an answer get *text* token by token, until it wants no more; return its events."""
    answer, events = Answer(prompt, tokenizer), []
    ids = tokenizer(text)["input_ids"]
    for index, token in enumerate(ids):
        scores = [Scored(token, -0.5, ((token, -0.5),))] if scored else []
        events.append(answer.add([token], scores, ended=index == len(ids) - 1))
        if answer.stopped:
            break
    return [event for event in events if event], answer


def asking(*, parallel: bool = True, **fields: Any) -> Prompt:
    return Prompt([1], 500, Sampling(), tools=Tools(FORM, frozenset({"f"}), parallel), **fields)


def test_a_call_is_one_event_and_names_the_end(tokenizer: Any) -> None:
    events, answer = told(tokenizer, f"I look. {CALL}{CALL}", asking())
    assert "".join(event["text"] for event in events) == "I look. "
    assert [event["calls"] for event in events if "calls" in event] == [
        [{"name": "f", "arguments": '{"a": 1}'}]
    ] * 2
    assert answer.last(limited=False)["finish_reason"] == "tool_calls"


def test_without_parallel_calls_the_first_ends_the_answer(tokenizer: Any) -> None:
    events, answer = told(tokenizer, f"{CALL}{CALL}", asking(parallel=False))
    assert answer.stopped
    assert [len(event["calls"]) for event in events] == [1]
    assert answer.count < len(tokenizer(CALL * 2)["input_ids"])


def test_a_call_that_is_cut_stays_text(tokenizer: Any) -> None:
    events, answer = told(tokenizer, CALL[:30], asking())
    assert "".join(event["text"] for event in events).split() == CALL[:30].split()
    assert answer.last(limited=True)["finish_reason"] == "length"


def test_each_token_has_its_log_probability_once(tokenizer: Any) -> None:
    text = "ü and 世 end"
    events, answer = told(tokenizer, text, Prompt([1], 99, Sampling(top_logprobs=1), ("end",)), scored=True)
    scores = [score for event in events for score in event["logprobs"]]
    assert answer.stopped
    assert len(scores) == answer.count
    assert "".join(event["text"] for event in events) == "ü and 世 "
    assert {score["logprob"] for score in scores} == {-0.5}
    assert all(score["top_logprobs"][0]["token"] == score["token"] for score in scores)
    assert any(score["bytes"] is None for score in scores), "a part of a character is no text"
    assert next(score["bytes"] for score in scores if score["token"] == "a") == [97]


def test_an_answer_can_be_sent_back(tokenizer: Any) -> None:
    events, _ = told(tokenizer, "one\0two", Prompt([1], 500, Sampling()))
    assert "".join(event["text"] for event in events) == "onetwo"
