"""The worker of token classifiers: find entities in texts."""

import re
from collections.abc import Sequence
from typing import Any

from framework.build.engine import GivesLogits, require
from framework.build.engine.model_folder import label_names
from framework.build.task.bioes import spans
from framework.serving.engine.classify_worker import Text, TextWorker
from framework.serving.engine.model_worker import Settings

_WORD = re.compile(r"\d[\d.,]*\d|\w+|[^\w\s]")
"""A number, a word or one punctuation mark; training rows should be split in the same way."""


class EntityWorker(TextWorker):
    """Tags the words of texts."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder; see the base class."""
        super().__init__(settings)
        # The labels are O and four tags per entity; see ``framework.build.task.bioes``.
        self.labels = [name.partition("-")[2] for name in label_names(self.folder)[1::4]]

    def encode(self, text: str) -> Text:
        """Return *text* as token ids, with each word's span and the position of its first token."""
        spans_of_words = [match.span() for match in _WORD.finditer(text)]
        encoded = self.tokenizer([text[start:end] for start, end in spans_of_words], is_split_into_words=True)
        first: dict[int, int] = {}
        for position, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, position)
        words = [spans_of_words[word] for word in first]
        return Text(list(encoded["input_ids"]), (text, words, list(first.values())))

    def answer(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return each text's entities in order of appearance."""
        import numpy as np

        answers = []
        scores = require(self.engine, GivesLogits).logits([text.ids for text in texts])
        for encoded, of_text in zip(texts, scores, strict=True):
            text, words, firsts = encoded.words
            logits = of_text[firsts].astype(np.float64)
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
            answers.append({"entities": entities})
        return answers
