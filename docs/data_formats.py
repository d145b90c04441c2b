"""Generate ``docs/data-formats.md``: every accepted row, and what is learned from it.

``python docs/data_formats.py`` writes it. ``--check`` writes nothing and exits with 1 if it is out of date.
Each example is read and encoded by the code that trains.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from framework.build.data.row_formats import FORMS, canonical
from framework.build.data.turns import ROLES
from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.conversation import encode_row
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError

TARGET = Path(__file__).with_name("data-formats.md")
MOST = 240
"""Most characters of a cell: some messages list every accepted form."""
# The tiny model's template, with places for tools, calls and thoughts.
TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HI, HO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
NO = {"role": "assistant", "content": "No"}
WEATHER = {"name": "weather", "parameters": {"type": "object"}}
INTRO = """# Data formats

Generated from the code by `just docs`; do not edit.

These are the rows that every data option accepts, from JSONL, JSON, CSV, TSV, Parquet or Arrow. A row's form
is the first whose required keys it has. Below each row is the text that the model sees, in a ChatML template.
What is learned stands in `[[…]]`, the rest is context. If your keys have other names, map them:
`data.columns={prompt: question}`.
"""
CONVERSATIONS = """
`messages`, as OpenAI writes them, or ShareGPT's `conversations`. The last turn is the assistant's.
`content` is text, or parts of type `text`, which are joined end to end.
"""
CONTEXT = """
OpenAI's `weight: 0` or Axolotl's `train: false` make an assistant turn context.
"""
THOUGHTS = """
`reasoning_content`, or `reasoning`, goes to the template and is learned where the template writes it.
"""
TOOLS = """
`tools` and `tool_calls`, as objects or as JSON text; ShareGPT's `function_call` and `observation` turns;
OpenAI's older key `function_call`. A null in a structure is left out, because Parquet fills absent keys
with null. A null in JSON text stays.
"""
ANSWERS = """
Alpaca, with LLaMA-Factory's `history`; Dolly; and `prompt` with `completion`, as text or as turns. Of
turns, only the completion is learned.
"""
PREFERENCES = """
For `training=dpo`. With `training=kto`, chosen is a good answer and rejected a bad one, as in TRL. An answer
is text, one turn, or a whole conversation; two whole conversations differ in their last turn only. The
prompt is `prompt`, `instruction`, the turns of `messages` or `conversations`, or what the whole
conversations share.
"""
JUDGMENTS = """
For `training=kto`: rows with an answer and a boolean `label`, as TRL writes them, or `kto_tag`, as
LLaMA-Factory does. The label is about the last answer, and only that has a loss. A good answer is `true`:
it should become more likely; a bad one is `false`. Rows with `label: true` only can also be learned with
`training=supervised`. All rows have a label, or none. A numeric or text label is a class; see *Labels*.

`evaluation=held-out` leaves out test rows with a bad answer; `evaluation=preference` uses all, and its
`reward_accuracy` is the share of rows whose reward has the sign of the label.
"""
LABELS = """
For models that classify: one class, any number of classes, a tag for each word, or a text with the image
that it is about.
"""
RETRIEVAL = """
For `training=contrastive`: a query and the passage that answers it, also as `anchor` and `positive`, as
sentence-transformers has them. `negative`, a text, and `negatives`, a list, are passages that do not
answer it.
"""
REFUSALS = """
A row that would be learned wrongly is rejected, and counts toward `data.max_rejected`. A key that nothing
reads stops the plan, which lists each such key with its number of rows, unless it is ignored:
`data.ignore=[source]`, or `'data.ignore=["messages[].score"]'` for a key of a turn. Null, `""` and empty
lists count as missing.
"""
SERVER = """
`/v1/chat/completions` reads messages, tools and calls with the code that reads rows, so the template gets
the same. A call in the answer is read in the form in which the template writes calls, and returned in
`tool_calls`; `tool_choice: none` leaves the tools out of the prompt. See [Serving](serving.md).
"""
CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
CALLING = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {**CALL, "arguments": json.dumps(CALL["arguments"])}}],
}
ACCEPTED: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    (
        "Conversations",
        CONVERSATIONS,
        (
            {"messages": [{"role": "system", "content": "Be short."}, HI, HO]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, HO]},
            {
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
                "system": "Be short.",
            },
        ),
    ),
    (
        "Turns that are not learned",
        CONTEXT,
        ({"messages": [HI, {**HO, "weight": 0}, {"role": "user", "content": "Again"}, HO]},),
    ),
    ("Thoughts", THOUGHTS, ({"messages": [HI, {**HO, "reasoning_content": "A greeting."}]},)),
    (
        "Tools",
        TOOLS,
        (
            {
                "messages": [
                    {"role": "user", "content": "Oslo?"},
                    CALLING,
                    {"role": "tool", "content": "Rain"},
                    {"role": "assistant", "content": "It rains."},
                ],
                "tools": [{"type": "function", "function": WEATHER}],
            },
            {
                "conversations": [
                    {"from": "human", "value": "Oslo?"},
                    {"from": "function_call", "value": json.dumps(CALL)},
                    {"from": "observation", "value": "Rain"},
                    {"from": "gpt", "value": "It rains."},
                ],
                "tools": json.dumps([WEATHER]),
            },
        ),
    ),
    (
        "Questions and answers",
        ANSWERS,
        (
            {"instruction": "Add.", "input": "1 1", "output": "2", "history": [["Say 1.", "1"]]},
            {"instruction": "Sum up.", "context": "A long text.", "response": "Text."},
            {"prompt": "Hi", "completion": "Ho", "system": "Be short."},
            {"prompt": [HI], "completion": [HO]},
        ),
    ),
    (
        "Preferences",
        PREFERENCES,
        (
            {"prompt": "Hi", "chosen": "Ho", "rejected": "No"},
            {"chosen": [HI, HO], "rejected": [HI, NO]},
            {"messages": [HI], "chosen": HO, "rejected": NO},
            {"instruction": "Hi", "chosen": "Ho", "rejected": "No"},
        ),
    ),
    (
        "Answers with a label",
        JUDGMENTS,
        (
            {"prompt": "Hi", "completion": "Ho", "label": True},
            {"prompt": [HI], "completion": [NO], "label": False},
            {
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "No"}],
                "kto_tag": False,
            },
        ),
    ),
    ("Documents", "\nEvery token is learned.\n", ({"text": "Oslo is a capital."},)),
    (
        "Labels",
        LABELS,
        (
            {"text": "A good film.", "label": "positive"},
            {"text": "A good film.", "labels": ["film", "praise"]},
            {"tokens": ["In", "Rome"], "tags": ["O", "S-city"]},
            {"text": "What is this?", "image": "cat.png", "label": "cat"},
        ),
    ),
    (
        "Queries and passages",
        RETRIEVAL,
        (
            {"query": "Capital of Norway?", "passage": "Oslo is a capital."},
            {
                "anchor": "Capital of Norway?",
                "positive": "Oslo is a capital.",
                "negative": "Rome is a capital.",
            },
        ),
    ),
)
REFUSED: tuple[dict[str, Any], ...] = (
    {"messages": [HI, HO], "source": "forum"},
    {"messages": [HI, {**HO, "score": 5}]},
    {"text": "A good film.", "lable": "positive"},
    {"query": "Capital of Norway?", "passage": "Oslo is a capital.", "score": 0.9},
    {"question": "Hi", "answer": "Ho"},
    {"messages": [HI]},
    {"messages": [HI, {**HO, "weight": 0.5}]},
    {"messages": [{**HI, "train": True}, HO]},
    {"messages": [HI, {**HO, "weight": 0}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]}, HO]},
    {"messages": [{"role": "narrator", "content": "Hi"}, HO]},
    {"prompt": "Hi", "completion": "Ho", "label": 0},
    {"messages": [HI], "chosen": HO, "rejected": NO, "label": True},
    {"chosen": "Ho", "rejected": "No"},
    {"chosen": [HI, HO], "rejected": [{"role": "user", "content": "Hey"}, HO]},
    {"prompt": "Hi", "chosen": "Ho", "rejected": "Ho"},
    {"text": "A good film.", "label": 1.0},
    {"text": "A good film.", "label": True},
    {"instruction": "Add.", "output": " "},
)


def page() -> str:
    """Return the page's text."""
    tokenizer = byte_tokenizer("<|im_start|>", "<|im_end|>", eos_token="<|im_end|>", chat_template=TEMPLATE)
    parts = [INTRO]
    for title, text, rows in ACCEPTED:
        parts.append(f"## {title}\n{text}")
        parts += [f"```json\n{_json(row)}\n```\n\n```text\n{learned(tokenizer, row)}\n```\n" for row in rows]
    parts.append("## All keys\n\nThe forms, in the order in which they are tried:\n")
    parts += ["| required | optional |", "| --- | --- |"]
    parts += [f"| {_keys(form.required)} | {_keys(form.optional)} |" for form in FORMS]
    parts.append(f"\nThe speaker of a turn, in upper or lower case: {_keys(ROLES)}.\n")
    parts.append(f"## Refused rows\n{REFUSALS}\n| row | message |\n| --- | --- |")
    parts += [f"| `{_cell(_json(row))}` | {_cell(_reason(row))} |" for row in REFUSED]
    parts.append(f"\n## The server takes the same\n{SERVER}")
    return "\n".join(parts).rstrip() + "\n"


def learned(tokenizer: Any, row: dict[str, Any]) -> str:
    """Return what the model sees, with ``[[…]]`` around what is learned."""
    read = canonical(row)
    if "text" in read and len(read) > 1:
        label = read.get("label") or ", ".join(read.get("labels", ()))
        image = f" + {read['image']}" if "image" in read else ""
        return f"{read['text']}{image} -> [[{label}]]"
    if "query" in read:
        others = "".join(f"\nnot: {text}" for text in read.get("negatives", ()))
        return f"{read['query']} -> [[{read['passage']}]]{others}"
    if "tokens" in read:
        return " ".join(f"{word}/[[{tag}]]" for word, tag in zip(read["tokens"], read["tags"], strict=True))
    ids, labels, *worse = encode_row(tokenizer, read)
    text = _marked(tokenizer, ids, labels)
    if "desirable" in read:
        return f"{'good' if read['desirable'] else 'bad'}:\n{text}"
    return f"chosen:\n{text}\n\nrejected:\n{_marked(tokenizer, *worse)}" if worse else text


def _marked(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(ids, labels, strict=True):
        if not runs or runs[-1][0] != (label != LABEL_MASK):
            runs.append((label != LABEL_MASK, []))
        runs[-1][1].append(token)
    texts = ((is_learned, tokenizer.decode(run)) for is_learned, run in runs)
    return "".join(f"[[{text}]]" if is_learned else text for is_learned, text in texts).rstrip()


def _reason(row: dict[str, Any]) -> str:
    try:
        canonical(row)
    except DataError as error:
        return str(error)
    raise AssertionError(f"{row} is accepted")


def _keys(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _cell(text: str) -> str:
    text = text.replace("|", "\\|")
    return text if len(text) <= MOST else text[:MOST] + "…"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != page():
            sys.exit("docs/data-formats.md is out of date; regenerate it with `just docs`")
        sys.exit(0)
    TARGET.write_text(page(), encoding="utf-8")
