"""Grammars of our decoding loop: which tokens may come next, by llguidance.

onnxruntime-genai has the same library inside, so a schema is read by the same rules there.
"""

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.engine.sampling import Part
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import llguidance
    import numpy as np

_log = logging.getLogger(__name__)
_LIMITS: dict[str, int] = {}
"""The library's limits of one grammar, where they are not its defaults."""
_WRITABLE = frozenset(bytes([code]) for code in range(0x20, 0x7F))
"""A vocabulary that has all of these as tokens can end every JSON text that it began."""


def guidance(grammar: Sequence[Part]) -> tuple[str, str]:
    """Return *grammar* as the library's kind of grammar and its text."""
    parts = [(kind, _on_one_line(text) if kind == "schema" else json.dumps(text)) for kind, text in grammar]
    if [kind for kind, _ in parts] == ["schema"]:
        return "json_schema", parts[0][1]
    rules = [text if kind == "text" else f"%json {text}" for kind, text in parts]
    names = [f"part{index}" for index in range(len(rules))]
    lines = [f"{name}: {rule}" for name, rule in zip(names, rules, strict=True)]
    return "lark_grammar", "\n".join([f"start: {' '.join(names)}", *lines])


def _on_one_line(schema: str) -> str:
    """Return *schema* for JSON as Python writes it: a weak model would write free blanks without end."""
    read = json.loads(schema)
    blanks = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return json.dumps({**read, "x-guidance": blanks}) if isinstance(read, dict) else schema


class GrammarError(ServeError):
    """A grammar that the library cannot use, or cannot go on with; other answers are not concerned."""


class Guide:
    """The grammar of one answer, and how far the answer has come."""

    def __init__(self, matcher: "llguidance.LLMatcher") -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self, scores: "np.ndarray") -> "np.ndarray":
        """Return logits (vocabulary,) that are minus infinity where the grammar forbids the token.

        An end token is allowed where the answer can end.

        Raises:
            GrammarError: the grammar is too complex to go on.
        """
        import numpy as np

        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        self._check()
        mask = np.zeros(len(scores), bool)
        known = min(len(scores), len(bits))
        mask[:known] = bits[:known]
        return np.where(mask, scores, -np.inf)

    def advance(self, token: int) -> None:
        """Note that the answer goes on with *token*, one that was allowed.

        Raises:
            GrammarError: the grammar is too complex to go on.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"too complex to go on with: {_reason(self._matcher)}")


class Grammars:
    """Opens grammars for one vocabulary."""

    def __init__(self, tokenizer: "llguidance.LLTokenizer") -> None:
        self._tokenizer = tokenizer

    def open(self, grammar: Sequence[Part]) -> Guide:
        """Return the guide of a new answer.

        Raises:
            GrammarError: the library does not know a part of the grammar.
        """
        from llguidance import LLMatcher, LLParserLimits

        kind, text = guidance(grammar)
        read = LLMatcher.grammar_from_json_schema if kind == "json_schema" else LLMatcher.grammar_from_lark
        limits = LLParserLimits(verbose_errors=False, **_LIMITS)
        matcher = LLMatcher(self._tokenizer, read(text), log_level=0, limits=limits)
        if matcher.is_error():
            raise GrammarError(_reason(matcher))
        return Guide(matcher)


def open_grammars(folder: Path, ends: Collection[int]) -> Grammars | None:
    """Return the grammars for a folder's tokenizer; None, and a warning, if there can be none.

    Args:
        folder: has the tokenizer.
        ends: the tokens that end an answer.
    """
    try:
        import llguidance.hf
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        opened = llguidance.hf.from_tokenizer(tokenizer, eos_token=sorted(ends) or None)
        written = {opened.decode_bytes([token]) for token in range(opened.vocab_size)}
        if not (lacking := _WRITABLE - written):
            return Grammars(opened)
        why = f"no token is {min(lacking).decode()!r} alone"
    except ImportError:
        why = "llguidance is not installed; pip install 'gitune[serve]'"
    except Exception as error:  # it raises whatever it met in an unusual tokenizer
        why = " ".join(str(error).split())
    _log.warning("%s: JSON schemas and required calls are refused: %s", folder, why)
    return None


def _reason(matcher: "llguidance.LLMatcher") -> str:
    return " ".join(matcher.get_error().replace("<non-verbose/>", "").split())


class Guided:
    """A model whose answers can keep to a grammar; the grammars are opened when the first is asked for."""

    folder: Path
    """Has the tokenizer."""
    ends: frozenset[int]
    """Tokens that end an answer."""

    def grammars(self) -> Grammars | None:
        """Return what opens grammars; None if the tokenizer does not allow any."""
        if not hasattr(self, "_grammars"):
            self._grammars = open_grammars(self.folder, self.ends)
        return self._grammars

    def _guide(self, grammar: Sequence[Part]) -> Guide | None:
        """Return the guide of a new answer; None without a grammar.

        Raises:
            GrammarError: the grammar cannot be used.
        """
        if not grammar:
            return None
        if (grammars := self.grammars()) is None:
            raise GrammarError("this model's tokenizer allows no grammar")
        return grammars.open(grammar)
