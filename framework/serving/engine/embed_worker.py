"""The worker of text-embedding models: a vector for each text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from framework.build.engine import Embeds, require
from framework.serving.api_error import ApiError
from framework.serving.engine.classify_worker import Text, TextWorker
from framework.serving.engine.model_worker import Abilities, Settings
from framework.serving.engine.told import check_ids
from framework.serving.vectors import write_vector


class EmbedWorker(TextWorker):
    """Embeds texts; texts of similar lengths share a batch."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder; see the base class.

        Raises:
            ServeError: the engine cannot embed with it.
        """
        super().__init__(settings)
        self.dimensions = require(self.engine, Embeds).dimensions
        self._special = self.tokenizer.num_special_tokens_to_add()

    def abilities(self) -> Abilities:
        """Return what clients can ask for, with the length of the vectors."""
        return replace(super().abilities(), dimensions=self.dimensions)

    def encode(self, text: str) -> Text:
        """Return *text* as token ids."""
        return Text(list(self.tokenizer(text, truncation=False)["input_ids"]))

    def read(self, payload: Any) -> Text:
        """Return the tokens of an ``Embedding``'s payload.

        Raises:
            ApiError: there are none, or unknown ones, or they do not fit into the model's context.
        """
        given, most = payload["embed"], payload["most"]
        if isinstance(given, str):
            text = self.encode(given)
        else:
            check_ids(self.tokenizer, given, "input")
            text = Text(given)
        if most is not None and len(text.ids) > most:
            text = Text(self._truncated(given, most))
        if not text.ids:
            raise ApiError(400, "a text has no tokens; leave it out", param="input")
        self.check_context(text)
        return text

    def _truncated(self, given: str | list[int], most: int) -> list[int]:
        """Return the first *most* tokens; of a text, special tokens at its end stay."""
        if isinstance(given, str) and most > self._special:
            return list(self.tokenizer(given, truncation=True, max_length=most)["input_ids"])
        return (self.encode(given).ids if isinstance(given, str) else given)[:most]

    def answer(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return each text's vector, which has length 1."""
        vectors = require(self.engine, Embeds).embed([text.ids for text in texts])
        return [{"embedding": write_vector(vector)} for vector in vectors]
