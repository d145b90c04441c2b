import copy
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.row_formats import canonical
from framework.build.model import Model
from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.chat import render_text, turn_ends
from framework.build.model.conversation import encode_row, encode_rows
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError
from framework.serving.engine.tokenization import prompt_ids


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
    ((ids, labels),) = encode_rows(tokenizer, {"messages": turns("a", "b")})
    assert tokenizer.decode(ids[-2:]) == "<|im_end|>\n"
    assert labels[-2] == tokenizer.eos_token_id
    assert labels[-1] == LABEL_MASK


def test_prompt_matches_the_servers(tokenizer: Any) -> None:
    ((ids, labels),) = encode_rows(tokenizer, {"messages": turns("a", "b")})
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
        encode_rows(strict, row)


def test_greeting_before_any_prompt_is_context(tokenizer: Any) -> None:
    greeting = {"role": "assistant", "content": "hi"}
    assert learned(tokenizer, {"messages": [greeting, *turns("a", "b")]}) == "b<|im_end|>"
    assert (
        learned(tokenizer, {"messages": [greeting, *turns("a", "b", "c", "d")]}) == "b<|im_end|>d<|im_end|>"
    )
    with pytest.raises(DataError, match="no assistant turn with a prompt"):
        encode_rows(tokenizer, {"messages": [greeting]})


def with_template(tokenizer: Any, template: str) -> Any:
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_END = (
    "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
SPACED = (
    "{% for m in messages %}{{ 'USER: ' if m.role == 'user' else ' ASSISTANT: ' }}{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}{% endfor %}{{ ' ASSISTANT: ' if add_generation_prompt }}"
)
# Thinks in the last answer only, as Qwen3 and SmolLM3 do.
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    "<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Asks for a thought that finished turns do not have, as DeepSeek does.
OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHATML
DEFAULT_DATE = (
    "{% if not date_string %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }}" + CHATML
)
COUNTS = "{{ messages|length }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
TEMPLATES = {
    "chatml": (CHATML, ["b<|im_end|>d<|im_end|>"]),
    "no end": (NO_END, ["b<|im_end|>", "d<|im_end|>"]),
    "spaced": (SPACED, ["b<|im_end|>d<|im_end|>"]),
    "thinks": (THINKS, ["<think></think>b<|im_end|>", "<think></think>d<|im_end|>"]),
    "opens": (OPENS, ["</think>\n\nb<|im_end|>", "</think>\n\nd<|im_end|>"]),
    "dated": (DATED, ["b<|im_end|>d<|im_end|>"]),
    "default date": (DEFAULT_DATE, ["b<|im_end|>d<|im_end|>"]),
    "counts": (COUNTS, ["b<|im_end|>", "d<|im_end|>"]),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_answer_follows_the_prompt_that_is_served(tokenizer: Any, name: str) -> None:
    template, texts = TEMPLATES[name]
    other, messages = with_template(tokenizer, template), turns("a", "b", "c", "d")
    rows = encode_rows(other, {"messages": messages})
    assert [other.decode([label for label in labels if label != LABEL_MASK]) for _, labels in rows] == texts
    for ids, labels in (rows[0], rows[-1]):
        first = messages[:1] if len(rows) == 1 or ids is rows[0][0] else messages[:3]
        prompt = prompt_ids(other, first)
        assert ids[: len(prompt)] == prompt
        assert labels[: len(prompt)] == [LABEL_MASK] * len(prompt)
        assert labels[len(prompt)] != LABEL_MASK
        end = max(at for at, label in enumerate(labels) if label != LABEL_MASK)
        assert labels[end] in {tokenizer.eos_token_id, *turn_ends(other)}


def test_token_across_the_prompts_end_is_split_as_served() -> None:
    """The server sends ``ASSISTANT: `` with its space, which would merge with the answer's first letter."""
    tokenizer = byte_tokenizer(
        "</s>", eos_token="</s>", merges=[("Ġ", "y"), ("Ġy", "o")], chat_template=SPACED
    )
    rows = encode_rows(tokenizer, {"messages": turns("hi", "yo", "so", "yo")})
    assert len(rows) == 2
    for (ids, labels), asked in zip(rows, (turns("hi"), turns("hi", "yo", "so")), strict=True):
        prompt = prompt_ids(tokenizer, asked)
        assert ids[: len(prompt)] == prompt
        assert tokenizer.decode([label for label in labels if label != LABEL_MASK]) == "yo</s>"


def test_white_space_of_the_answer_itself_is_learned(tokenizer: Any) -> None:
    assert learned(with_template(tokenizer, NO_END), {"messages": turns("a", "b\n")}) == "b\n<|im_end|>"


def test_date_is_that_of_the_template(tokenizer: Any) -> None:
    dated = with_template(tokenizer, DATED)
    assert render_text(dated, turns("a"), None, prompt=True).startswith("01 Jan 2025\n<|im_start|>user")
    default = with_template(tokenizer, DEFAULT_DATE)
    assert render_text(default, turns("a"), None, prompt=True).startswith("26 Jul 2024")


def test_thought_in_the_content_follows_an_open_prompt(tokenizer: Any) -> None:
    row = {"messages": turns("a", "<think>\nsince\n</think>\n\nb")}
    assert learned(with_template(tokenizer, OPENS), row) == "since\n</think>\n\nb<|im_end|>"


def test_turn_marked_as_not_learned_carries_no_loss(tokenizer: Any) -> None:
    messages: list[dict[str, Any]] = turns("a", "b", "c", "d", "e", "f")
    messages[1]["train"] = False
    assert learned(tokenizer, {"messages": messages}) == "d<|im_end|>f<|im_end|>"
    ((_, labels),) = encode_rows(tokenizer, {"messages": messages}, "last_answer")
    assert tokenizer.decode([label for label in labels if label != LABEL_MASK]) == "f<|im_end|>"
    with pytest.raises(DataError, match=r"data\.loss_on=answers"):
        encode_rows(tokenizer, {"messages": messages}, "all")


def test_loss_on_all_covers_prompts(tokenizer: Any) -> None:
    ((ids, labels),) = encode_rows(tokenizer, {"messages": turns("a", "b")}, "all")
    assert labels[:-1] == ids[:-1]
    assert labels[-1] == LABEL_MASK  # the white space after the last end


def test_pair_is_two_answers_to_one_prompt(tokenizer: Any) -> None:
    row = {"messages": turns("a", "b", "c", "d"), "rejected": "e"}
    ((ids, labels, other_ids, other_labels),) = encode_rows(with_template(tokenizer, THINKS), row)
    prompt = prompt_ids(with_template(tokenizer, THINKS), turns("a", "b", "c"))
    for both, text in (((ids, labels), "d"), ((other_ids, other_labels), "e")):
        assert both[0][: len(prompt)] == prompt
        kept = [label for label in both[1] if label != LABEL_MASK]
        assert tokenizer.decode(kept) == f"<think></think>{text}<|im_end|>"


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"text": "a", "label": "b"}, "label"),
        ({"text": "a", "labels": ["b"]}, "labels"),
        ({"text": "a", "image": "b.png"}, "image"),
        ({"tokens": ["a"], "tags": ["O"]}, "tokens"),
    ],
)
def test_key_of_another_task_is_refused(tokenizer: Any, row: Any, key: str) -> None:
    with pytest.raises(DataError, match=f"'{key}'"):
        encode_rows(tokenizer, row)


def test_conversation_without_an_answer_is_rejected(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no assistant turn"):
        encode_rows(tokenizer, {"messages": turns("a")})


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
    ((ids, _),) = encode_rows(able, row)
    assert able.decode(ids).startswith('<|im_start|>system\n[{"type": "function"')
    assert "<|im_start|>tool\n25 C, sun<|im_end|>" in able.decode(ids)


def test_earlier_reasoning_that_is_left_out_is_named(tokenizer: Any) -> None:
    messages: list[dict[str, Any]] = turns("a", "b", "c", "d")
    messages[1]["reasoning_content"] = "since"
    with pytest.raises(DataError, match=r"out of earlier turns.*data\.loss_on=answers"):
        encode_rows(with_template(tokenizer, THINKS), {"messages": messages}, "all")


def test_reasoning_is_learned_or_named(tokenizer: Any) -> None:
    answer = {"role": "assistant", "content": "yes", "reasoning_content": "since"}
    row = {"messages": [*turns("a"), answer]}
    with pytest.raises(DataError, match="'reasoning_content'"):
        encode_rows(tokenizer, row)
    assert learned(with_template(tokenizer, THINKS), row) == "<think>since</think>yes<|im_end|>"


def test_template_without_tools_is_rejected(tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"'tool_calls'.* write the calls in 'content'"):
        encode_rows(tokenizer, canonical({"messages": ASKED}))
    with pytest.raises(DataError, match="'tools'; describe them in the system turn"):
        encode_rows(tokenizer, canonical({"messages": turns("a", "b"), "tools": [SCHEMA]}))
