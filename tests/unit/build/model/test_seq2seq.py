from typing import Any

import pytest

from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.seq2seq import TEMPLATE, encode_answers
from framework.core.errors import DataError
from framework.serving.engine.tokenization import prompt_ids

TURNS = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate("abcd")]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer("</s>", eos_token="</s>", chat_template=TEMPLATE)


def test_each_answer_is_learned_after_its_own_prompt(tokenizer: Any) -> None:
    pairs = encode_answers(tokenizer, {"messages": TURNS})
    assert [ids for ids, _ in pairs] == [prompt_ids(tokenizer, TURNS[:count]) for count in (1, 3)]
    assert [tokenizer.decode(labels) for _, labels in pairs] == ["b</s>", "d</s>"]
    assert encode_answers(tokenizer, {"messages": TURNS}, "last_answer") == pairs[1:]
    unlearned = [TURNS[0], {**TURNS[1], "train": False}, *TURNS[2:]]
    assert encode_answers(tokenizer, {"messages": unlearned}) == pairs[1:]


@pytest.mark.parametrize("key", ["tools", "rejected", "tool_calls", "reasoning_content"])
def test_what_a_decoder_does_not_learn_is_named(tokenizer: Any, key: str) -> None:
    row: dict[str, Any] = {"messages": [TURNS[0], {**TURNS[1]}]}
    (row if key in ("tools", "rejected") else row["messages"][1])[key] = [{"function": {}}]
    with pytest.raises(DataError, match=f"'{key}'"):
        encode_answers(tokenizer, row)


def test_good_answers_are_learned_and_bad_ones_named(tokenizer: Any) -> None:
    row: dict[str, Any] = {"messages": TURNS[:2]}
    assert encode_answers(tokenizer, {**row, "desirable": True}) == encode_answers(tokenizer, row)
    with pytest.raises(DataError, match="label is false"):
        encode_answers(tokenizer, {**row, "desirable": False})
