"""The worker process of token classifiers: find entities in texts. Only the app imports it."""

import re
from collections.abc import Sequence
from typing import Any

from framework.build.engine import GivesLogits, require
from framework.build.engine.model_folder import label_names
from framework.build.task.bioes import spans
from framework.serving.model_worker import ClassifyWorker

_WORD = re.compile(r"\d[\d.,]*\d|\w+|[^\w\s]")
"""A number, a word or one punctuation mark; training rows should be split in the same way."""


class EntityWorker(ClassifyWorker):
    """Tags the words of texts, one batch of waiting texts at a time."""

    def warm_up(self) -> None:
        """Tag one text."""
        # The labels are O and four tags per entity; see ``framework.build.task.bioes``.
        self.labels = [name.partition("-")[2] for name in label_names(self.folder)[1::4]]
        require(self.engine, GivesLogits).logits([self._words("Hi")[1]])

    def predict(self, x: Sequence[str]) -> list[dict[str, Any]]:
        """Return each text's entities in order of appearance, or an error."""
        import numpy as np

        texts = [self._words(text) for text in x]
        fits = [self.context is None or len(ids) <= self.context for _, ids, _ in texts]
        kept = [ids for (_, ids, _), fit in zip(texts, fits, strict=True) if fit]
        scores = iter(require(self.engine, GivesLogits).logits(kept) if kept else ())
        answers = []
        for text, (words, ids, firsts), fit in zip(x, texts, fits, strict=True):
            if not fit:
                answers.append(self._too_long(ids))
                continue
            logits = next(scores)[firsts].astype(np.float64)
            exponentials = np.exp(logits - logits.max(-1, keepdims=True))
            best = (exponentials / exponentials.sum(-1, keepdims=True)).max(-1)
            entities = [
                {
                    "label": self.labels[entity],
                    "text": text[words[first][0] : words[last - 1][1]],
                    "start": words[first][0],
                    "end": words[last - 1][1],
                    "score": float(best[first:last].min()),
                }
                for first, last, entity in sorted(spans(logits.argmax(-1).tolist()))
            ]
            answers.append({"entities": entities, "tokens": len(ids), "batch": len(kept)})
        return answers

    def _words(self, text: str) -> tuple[list[tuple[int, int]], list[int], list[int]]:
        """Return each word's span in *text*, the token ids, and the position of each word's first token."""
        words = [match.span() for match in _WORD.finditer(text)]
        encoded = self.tokenizer([text[start:end] for start, end in words], is_split_into_words=True)
        first: dict[int, int] = {}
        for position, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, position)
        return [words[word] for word in first], list(encoded["input_ids"]), list(first.values())
