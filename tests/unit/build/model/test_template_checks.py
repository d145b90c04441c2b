"""Templates as models ship them, abridged: which text they may add, and which turns they may not lose."""

from typing import Any

import pytest

from framework.build.data.row_formats import canonical
from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.chat_templates import TEMPLATES
from framework.build.model.conversation import encode_rows
from framework.build.model.template_checks import refuse_lost_turns, text_around_answers
from framework.core.errors import DataError

START, END = "<|im_start|>", "<|im_end|>"
ROLE = "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
CALLS = "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}"
GENERATE = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
SMOLLM = (
    "{% for m in messages %}{% if loop.first and messages[0].role != 'system' %}<|im_start|>system\nYou are "
    "SmolLM.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + GENERATE
)
QWEN = (
    "{% if tools %}<|im_start|>system\n{{ messages[0].content if messages[0].role == 'system' }}"
    "{{ tools | tojson }}<|im_end|>\n{% endif %}{% for m in messages %}"
    "{% if not (tools and loop.first and m.role == 'system') %}<|im_start|>"
    "{{ 'user\n<tool_response>' if m.role == 'tool' else m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1] }}" + CALLS + "<|im_end|>\n{% endif %}{% endfor %}" + GENERATE
)
LLAMA = (
    "<|start_header_id|>system<|end_header_id|>\n\n{% if messages[0].role == 'system' %}"
    "{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}<|eot_id|>"
    "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}"
    "{{ raise_exception('one call') }}{% endif %}" + ROLE + '{"name": "{{ m.tool_calls[0].function.name }}"}'
    "{% elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content | tojson }}"
    "{% else %}" + ROLE + "{{ m.content | trim }}{% endif %}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content ~ '\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{{ system if loop.first }}{{ m.content }} [/INST]{% elif m.role == 'assistant' %} {{ m.content | trim }}"
    "</s>{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content ~ '\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ first if loop.first }}"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GPT_OSS = (
    "{% if messages[0].role == 'system' %}<|start|>developer<|message|>{{ messages[0].content }}<|end|>"
    "{% endif %}{% for m in messages %}{% if m.tool_calls %}<|start|>assistant to=functions."
    "{{ m.tool_calls[0].function.name }}<|message|><|call|>{% elif m.role == 'assistant' %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% elif m.role == 'tool' %}"
    "<|start|>functions to=assistant<|message|>{{ m.content | tojson }}<|end|>{% elif m.role == 'user' %}"
    "<|start|>user<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
DEEPSEEK = (
    "{% set ns = namespace(system='') %}{% for m in messages if m.role == 'system' %}"
    "{% set ns.system = m.content %}{% endfor %}{{ ns.system }}{% for m in messages %}"
    "{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'tool' %}<|tool|>{{ m.content }}"
    "{% elif m.role == 'assistant' %}<|Assistant|>" + CALLS + "{{ m.content.split('</think>')[-1] }}</s>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
SHIPPED = {
    "smollm": (SMOLLM, [START, END]),
    "qwen": (QWEN, [START, END]),
    "llama": (LLAMA, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "mistral": (MISTRAL, []),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"]),
    "gpt-oss": (
        GPT_OSS,
        ["<|start|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>", "<|end|>"],
    ),
    "deepseek": (DEEPSEEK, ["<|User|>", "<|Assistant|>"]),
    **{name: (template, []) for name, template in TEMPLATES.items()},
}
WITH_TOOLS = ("qwen", "llama", "gpt-oss", "deepseek")
SYSTEM, USER = {"role": "system", "content": " Be brief. "}, {"role": "user", "content": " Hi "}
ANSWER = {"role": "assistant", "content": "<think>\nso\n</think>\n\nIt rains. "}
CALL = {
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    "id": "c12345678",
    "type": "function",
}
CALLED: list[dict[str, Any]] = [
    {"role": "assistant", "content": "Let me see", "tool_calls": [CALL]},
    {"role": "tool", "content": "25 C", "tool_call_id": "c12345678"},
]


def made(template: str, *special: str) -> Any:
    return byte_tokenizer("</s>", *special, eos_token="</s>", chat_template=template)


@pytest.mark.parametrize("name", SHIPPED)
def test_template_that_models_ship_passes(name: str) -> None:
    template, special = SHIPPED[name]
    tokenizer = made(template, *special)
    assert text_around_answers(tokenizer) == ""
    called = CALLED if name in WITH_TOOLS else []
    talk = [SYSTEM, USER, ANSWER, USER, *called, ANSWER]
    assert encode_rows(tokenizer, canonical({"messages": talk}), "last_answer")
    refuse_lost_turns(tokenizer, talk[:-1], None)


BARE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
HALF = BARE + "{% if add_generation_prompt %}<|im_start|>{% endif %}"


@pytest.mark.parametrize(
    ("template", "special", "named"),
    [
        (BARE, [START, END], "assistant"),
        (HALF, [START, END], "assistant"),
        (BARE + GENERATE, [], END),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", [], "the answer's text"),
    ],
    ids=["no prompt", "half a header", "end that is no token", "no answer"],
)
def test_text_around_an_answer_is_named(template: str, special: list[str], named: str) -> None:
    assert named in text_around_answers(made(template, *special))


ZEPHYR = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}</s>\n"
    "{% elif m.role == 'system' %}<|system|>\n{{ m.content }}</s>\n{% elif m.role == 'assistant' %}"
    "<|assistant|>\n{{ m.content }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TWO_ROLES = (
    "{% for m in messages %}{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n"
    "{% elif m.role == 'assistant' %}### Response:\n{{ m.content }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
TWO_CALLS = [USER, {**CALLED[0], "tool_calls": [CALL, CALL]}, CALLED[1]]


@pytest.mark.parametrize(
    ("template", "asked", "named"),
    [
        (TWO_ROLES, [SYSTEM, USER], "'system'"),
        (ZEPHYR, [USER, CALLED[1]], "'tool'"),
        (TEMPLATES["chatml"], [USER, *CALLED], "'tool_calls'"),
        (TEMPLATES["chatml"], [USER, {**CALLED[0], "train": False}, CALLED[1]], "'tool_calls'"),
        (GPT_OSS, TWO_CALLS, "'tool_calls'"),
        (DEEPSEEK, [SYSTEM, USER, ANSWER, SYSTEM, USER], "'system'"),
    ],
    ids=["system", "tool", "call", "unlearned call", "second call", "second system"],
)
@pytest.mark.parametrize("kind", ["answer", "pair", "all"])
def test_turn_that_the_template_drops_is_named(
    template: str, asked: list[dict[str, Any]], named: str, kind: str
) -> None:
    tokenizer, messages = made(template), canonical({"messages": [*asked, ANSWER]})["messages"]
    row: Any = {"messages": messages, **({"rejected": "No."} if kind == "pair" else {})}
    if kind == "all":
        row["messages"] = [{k: v for k, v in turn.items() if k != "train"} for turn in messages]
    with pytest.raises(DataError, match=named):
        encode_rows(tokenizer, row, "all" if kind == "all" else "last_answer")
