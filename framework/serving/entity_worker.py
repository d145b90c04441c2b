"""The worker that finds entities in texts; only the app imports it."""

import re
from collections.abc import Sequence
from typing import Any

from framework.build.task.bioes import spans
from framework.serving.model_worker import ClassifyWorker

_WORD = re.compile(r"\d[\d.,]*\d|\w+|[^\w\s]")
"""A number, a word or one sign: rows of words to learn from are best made the same way."""


class TagWorker(ClassifyWorker):
    """Tags the words of texts, as many texts together as wait."""

    def warm_up(self) -> None:
        """Tag one text."""
        from framework.build.engine.model_folder import class_names

        # The tags are O and four of each entity; see ``framework.build.task.bioes``.
        self.labels = [name.partition("-")[2] for name in class_names(self.folder)[1::4]]
        self.engine.logits([self._words("Hi")[1]])

    def predict(self, x: Sequence[str]) -> list[dict[str, Any]]:
        """Return for each text its entities in their order, or why it is refused."""
        import numpy as np

        texts = [self._words(text) for text in x]
        fits = [self.context is None or len(ids) <= self.context for _, ids, _ in texts]
        kept = [ids for (_, ids, _), fit in zip(texts, fits, strict=True) if fit]
        found = iter(self.engine.logits(kept) if kept else ())
        answers = []
        for text, (words, ids, firsts), fit in zip(x, texts, fits, strict=True):
            if not fit:
                answers.append(self._too_long(ids))
                continue
            logits = next(found)[firsts].astype(np.float64)
            shares = np.exp(logits - logits.max(-1, keepdims=True))
            best = (shares / shares.sum(-1, keepdims=True)).max(-1)
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
        """Return each word's place in *text*, the token ids, and where the first token of each word is."""
        places = [match.span() for match in _WORD.finditer(text)]
        encoded = self.tokenizer([text[start:end] for start, end in places], is_split_into_words=True)
        first: dict[int, int] = {}
        for position, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, position)
        return [places[word] for word in first], list(encoded["input_ids"]), list(first.values())
