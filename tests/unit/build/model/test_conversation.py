import copy
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.row_formats import canonical
from framework.build.model import Model
from framework.build.model.conversation import encode_row
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError
from framework.serving.tokenization import prompt_ids


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Model, tiny_base: Path) -> Any:
    return tiny_model.tokenizer(tiny_base)


def turns(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[index % 2], "content": text} for index, text in enumerate(contents)]


def learned(tokenizer: Any, row: Any) -> str:
    ids, labels = encode_row(tokenizer, row)
    assert len(ids) == len(labels)
    assert all(label in (LABEL_MASK, token) for token, label in zip(ids, labels, strict=True))
    return str(tokenizer.decode([label for label in labels if label != LABEL_MASK]))


def test_only_answers_and_their_end_tokens_are_learned(tokenizer: Any) -> None:
    row = {"messages": turns("assistant", "one", "user?", "two\nlines")}
    assert learned(tokenizer, row) == "one<|im_end|>two\nlines<|im_end|>"


def test_white_space_after_the_end_is_not_learned(tokenizer: Any) -> None:
    ids, labels = encode_row(tokenizer, {"messages": turns("a", "b")})
    assert tokenizer.decode(ids[-2:]) == "<|im_end|>\n"
    assert labels[-2] == tokenizer.eos_token_id
    assert labels[-1] == LABEL_MASK


def test_prompt_matches_the_servers(tokenizer: Any) -> None:
    ids, labels = encode_row(tokenizer, {"messages": turns("a", "b")})
    prompt = list(prompt_ids(tokenizer, turns("a")))
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [LABEL_MASK] * len(prompt)
    assert labels[len(prompt)] == ids[len(prompt)]


def test_end_token_inside_an_answer_does_not_cut_it(tokenizer: Any) -> None:
    assert learned(tokenizer, {"messages": turns("a", "b<|im_end|>c")}) == "b<|im_end|>c<|im_end|>"


def test_document_is_learned_with_its_end_token(tokenizer: Any) -> None:
    assert learned(tokenizer, {"text": "A passage."}) == "A passage.<|im_end|>"


def test_template_error_rejects_the_row(tokenizer: Any) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    row = {"messages": [{"role": "system", "content": "s"}, *turns("a", "b")]}
    with pytest.raises(DataError, match="no system role"):
        encode_row(strict, row)


def test_conversation_must_not_begin_with_the_assistant(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="the first turn is the assistant's"):
        encode_row(tokenizer, {"messages": [{"role": "assistant", "content": "b"}]})


def test_todays_date_does_not_enter_the_rows(tokenizer: Any) -> None:
    dated = copy.deepcopy(tokenizer)
    date = "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    dated.chat_template = f"{date}{{{{ date_string }}}}\n{tokenizer.chat_template}"
    ids, _ = encode_row(dated, {"messages": turns("a", "b")})
    assert tokenizer.decode(ids).startswith("01 Jan 2025\n")


def test_label_requires_a_classifier(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="requires a model option for classification"):
        encode_row(tokenizer, {"text": "a", "label": "b"})


def test_conversation_without_an_answer_is_rejected(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no assistant turn"):
        encode_row(tokenizer, {"messages": turns("a")})


@pytest.mark.parametrize(
    "template",
    [
        # Drops earlier answers, as templates of reasoning models drop earlier thoughts.
        "{{ messages[-1]['content'] }}<|im_end|>{% if add_generation_prompt %}>{% endif %}",
        # Counts the turns at the start.
        "{{ messages|length }}{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}",
    ],
)
def test_template_that_changes_earlier_turns_is_rejected(tokenizer: Any, template: str) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    with pytest.raises(DataError, match="changes earlier turns"):
        encode_row(other, {"messages": turns("a", "b", "c", "d")})


def test_turn_without_an_end_token_is_learned_to_its_end(tokenizer: Any) -> None:
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }};{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"  # noqa: E501
    assert learned(other, {"messages": turns("a", "b")}) == "b;"


# The format of models with tools: calls in tags, tool results as separate turns.
TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}<call>{{ call['function'] | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"function": {"name": "weather", "arguments": '{"city": "Rome"}'}, "id": "c1", "type": "function"}
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Sunny in Rome?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "25 C, sun", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "Any time."},
]
SCHEMA = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_every_assistant_turn_and_tool_call_is_learned(tokenizer: Any) -> None:
    able = copy.deepcopy(tokenizer)
    able.chat_template = TOOLS
    row = canonical({"messages": ASKED, "tools": [SCHEMA]})
    call = '<call>{"name": "weather", "arguments": {"city": "Rome"}}</call>'
    assert learned(able, row) == f"{call}<|im_end|>Yes.<|im_end|>Any time.<|im_end|>"
    ids, _ = encode_row(able, row)
    assert able.decode(ids).startswith('<|im_start|>system\n[{"type": "function"')
    assert "<|im_start|>tool\n25 C, sun<|im_end|>" in able.decode(ids)


def test_template_without_tools_is_rejected(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="'tool_calls'; write the calls in 'content'"):
        encode_row(tokenizer, canonical({"messages": ASKED}))
    with pytest.raises(DataError, match="'tools'; describe them in the system turn"):
        encode_row(tokenizer, canonical({"messages": turns("a", "b"), "tools": [SCHEMA]}))
