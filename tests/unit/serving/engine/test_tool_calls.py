"""Tool calls: the form is derived from a chat template, and read from an answer piece by piece."""

import json
from pathlib import Path
from typing import Any

import pytest

from framework.build.model.chat import render_text, tokenize
from framework.serving.engine.tokenization import open_tokenizer
from framework.serving.engine.tool_format import ToolFormat, derive
from framework.serving.engine.tool_parser import ToolParser

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "CALLS<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOOP = "{% for c in m.tool_calls or [] %}BODY{% endfor %}"
FORMS = {
    "tagged": LOOP.replace(
        "BODY",
        '{{ "\n" if not loop.first or m.content }}<tool_call>\n{"name": "{{ c.function.name }}", '
        '"arguments": {{ c.function.arguments | tojson }}}\n</tool_call>',
    ),
    "bare": LOOP.replace(
        "BODY", '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}'
    ),
    "listed": (
        "{% if m.tool_calls %}<tool_call>[" + LOOP.replace("BODY", "{{ c.function | tojson }},") + "]"
        "</tool_call>{% endif %}"
    )
    .replace(" },", " }}")
    .replace("}},", "}}{{ ', ' if not loop.last }}"),
    "special": "{% if m.tool_calls %}<|im_start|>["
    + LOOP.replace("BODY", "{{ c.function | tojson }}")
    + "]{% endif %}",
}
XML = LOOP.replace("BODY", "<function={{ c.function.name }}>{{ c.function.arguments }}</function>")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def tokenizer(tiny_llama: Path) -> Any:
    return open_tokenizer(tiny_llama)


def derived(tokenizer: Any, form: str) -> ToolFormat:
    tokenizer.chat_template = TURNS.replace("CALLS", FORMS[form])
    found = derive(tokenizer)
    assert found is not None
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_call_in_the_templates_form_is_read_back(tokenizer: Any, form: str) -> None:
    read = derived(tokenizer, form)
    arguments = {"city": 'O"slo }</tool_call', "days": [1, 2], "deep": {"a": None}}
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    prompt = render_text(tokenizer, turns[:1], [TOOL], prompt=True)
    answer = render_text(tokenizer, turns, [TOOL], prompt=False).removeprefix(prompt)
    text = tokenizer.decode(tokenize(tokenizer, answer), skip_special_tokens=True).rstrip("\n")
    for size in (1, 3, 1000):
        parser = ToolParser(read, {"f"})
        pieces = [parser.push(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join(piece for piece, _ in pieces) + parser.finish() == ""
        ((name, got),) = [found for _, calls in pieces for found in calls]
        assert (name, json.loads(got)) == ("f", arguments)


def test_forms_have_the_keys_and_markers_of_the_template(tokenizer: Any) -> None:
    assert derived(tokenizer, "tagged") == ToolFormat(
        "<tool_call>\n", "\n</tool_call>", "name", "arguments", listed=False
    )
    bare = derived(tokenizer, "bare")
    assert (bare.begin, bare.end, bare.arguments) == ("", "", "parameters")
    assert derived(tokenizer, "listed").listed
    assert derived(tokenizer, "special").begin == "", "clients do not see special tokens"


@pytest.mark.parametrize("calls", [XML, ""])
def test_a_template_without_json_calls_has_no_form(tokenizer: Any, calls: str) -> None:
    tokenizer.chat_template = TURNS.replace("CALLS", calls)
    assert derive(tokenizer) is None


TAGGED = ToolFormat("<tool_call>\n", "\n</tool_call>", "name", "arguments")
BARE = ToolFormat("", "", "name", "parameters")


def parsed(form: ToolFormat, text: str) -> tuple[str, list[tuple[str, str]]]:
    """Parse *text* one character at a time, and at once; both must agree."""
    results = []
    for size in (1, len(text)):
        parser, out, calls = ToolParser(form, {"f", "g"}), "", []
        for at in range(0, len(text), size):
            piece, new = parser.push(text[at : at + size])
            out, calls = out + piece, calls + new
        results.append((out + parser.finish(), calls))
    assert results[0] == results[1]
    return results[0]


def test_text_and_several_calls_are_told_apart() -> None:
    one, two = (
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        '<tool_call>{"name": "g"}</tool_call>',
    )
    assert parsed(TAGGED, f"I look. {one}\n{two}\n") == ("I look. ", [("f", "{}"), ("g", "{}")])
    bare = '{"name": "f", "parameters": {"a": 1}}'
    assert parsed(BARE, f"{bare}; {bare}") == ("", [("f", '{"a": 1}')] * 2)


@pytest.mark.parametrize(
    "text",
    [
        "a < b <tool",
        '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>',
        "<tool_call>\n{broken}\n</tool_call> and on",
        '<tool_call>\n{"name": "f", "argum',
        "<tool_call> is a marker",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    out, calls = parsed(TAGGED, text)
    assert calls == []
    assert out.split() == text.split()


@pytest.mark.parametrize("text", ['{"a": 1} is JSON', "plain {", '{"name": "f", "para', "[1, 2] then more"])
def test_bare_json_that_is_no_call_stays_text(text: str) -> None:
    assert parsed(BARE, text) == (text, [])
