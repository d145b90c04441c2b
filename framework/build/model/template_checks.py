"""What a chat template may not do: write text of its own around an answer, or leave out turns.

It knows templates and tokenizers; neither rows and labels nor requests.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from framework.build.model.chat import end_token, render_text
from framework.core.errors import DataError

_PROBE = "probe"
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_ADVICE = {
    "system": "write its text in the first user's turn",
    "tool": "write the tool's result in a user's turn, or choose a model whose template supports tools",
}
LOST_CALLS = (
    "the model's chat template ignores 'tool_calls', or all but the first of a turn; write the calls in "
    "'content', or choose a model whose template supports tools"
)


def text_around_answers(tokenizer: Any) -> str:
    """Return what is wrong with the text around an answer; empty if nothing is.

    Such text would be learned, and served as part of each reply: a header that the prompt lacks, or an end
    that is no special token. A prompt may continue in markup, as gpt-oss's does with its channels, or in a
    block of thoughts.
    """
    asked = [{"role": "user", "content": "?"}]
    try:
        prompt = render_text(tokenizer, asked, None, prompt=True)
        closed = render_text(tokenizer, asked, None, prompt=False)
        text = render_text(tokenizer, [*asked, {"role": "assistant", "content": _PROBE}], None, prompt=False)
    except DataError:
        return ""  # the rows say which conversations it rejects
    before, found, after = text.rpartition(_PROBE)
    if not found:
        return "it does not write the answer's text"
    head = _THOUGHT.sub("", before.removeprefix(prompt)).strip() if before.startswith(prompt) else ""
    if head and (prompt == closed or not head.startswith(("<", "["))):
        return (
            f"it writes {head!r} before an answer, but not with add_generation_prompt, so every reply would "
            "begin with it"
        )
    if end_token(tokenizer, after) is None and (tail := after.strip()):
        return (
            f"it writes {tail!r} after an answer, which is no special token of the tokenizer, so every reply "
            "would end with it"
        )
    return ""


def refuse_lost_turns(tokenizer: Any, messages: Sequence[Any], tools: Any) -> None:
    """Raise a DataError if the template leaves out a turn's text, or one of its tool calls.

    Texts and names are replaced by probes, which must be in the rendered text. A template may merge turns,
    trim them, or leave out thoughts and the text beside a call. The turns after which it was asked before,
    with other texts, are not asked again.

    Args:
        tokenizer: has the chat template.
        messages: turns that the template does not reject.
        tools: definitions of tools, or None.
    """
    asked = tuple((turn["role"], bool(turn.get("content")), len(_calls(turn))) for turn in messages)
    known = _known(tokenizer, str(tokenizer.chat_template))
    if (asked, bool(tools)) in known:
        return
    probed, probes = _with_probes(messages)
    try:
        text = render_text(tokenizer, probed, tools, prompt=messages[-1]["role"] != "assistant")
    except DataError:
        return  # it asks for texts of a form, and has written those
    for role, probe in probes:
        if probe not in text:
            raise DataError(_lost(role))
    known.add((asked, bool(tools)))


@lru_cache(maxsize=4)
def _known(tokenizer: Any, template: str) -> set[Any]:
    """Return the kinds of conversations that *template* writes whole, as far as they were asked for."""
    return set()


def _with_probes(messages: Sequence[Any]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Return *messages* with probes for texts and names of functions; and the probes, each after its role."""
    turns, probes = [], []
    for index, message in enumerate(messages):
        turn, probe, calls = dict(message), f"{_PROBE}{index}x", _calls(message)
        if message.get("content") and not calls:
            turn["content"] = probe
            probes.append((message["role"], probe))
        if calls:
            names = [f"{probe}{number}x" for number in range(len(calls))]
            turn["tool_calls"] = [
                {**call, "function": {**call["function"], "name": name}}
                for call, name in zip(calls, names, strict=True)
            ]
            probes += [("tool_calls", name) for name in names]
        turns.append(turn)
    return turns, probes


def _calls(turn: Any) -> Sequence[Any]:
    calls: Sequence[Any] = turn.get("tool_calls") or ()
    return calls


def _lost(role: str) -> str:
    if role == "tool_calls":
        return LOST_CALLS
    advice = _ADVICE.get(role, "choose a model whose template writes it")
    return f"the model's chat template ignores a turn of role '{role}'; {advice}, or set model.chat_template"
