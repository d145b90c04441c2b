"""Text embedding: one vector for each text, so that a query is near the passage that answers it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Embeds, Engine, require
from framework.build.engine.pooling import mean_pooled
from framework.build.task import Batch, Example, Task
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Text = tuple[int, ...]
"""The token ids of a text."""
_TEXTS = 32  # texts per call of the engine
_QUERIES = 256  # queries whose scores of all passages are in memory at once
_FIRST = 10


class TextEmbeddings(Task):
    """A row has the texts of a query, of the passage that answers it, and of passages that do not.

    They are end to end in ``input_ids``. ``labels`` has the number of each token's text: 0 for the query, 1
    for its passage, 2 and more for the others.
    """

    name: ClassVar[str] = "text-embedding"
    auto_class: ClassVar[str] = "AutoModel"
    peft_type: ClassVar[str] = "FEATURE_EXTRACTION"
    generates: ClassVar[bool] = False
    embeds: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("recall_at_1", "recall_at_10", "mrr_at_10")
    suggested_training: ClassVar[str] = "contrastive"
    suggested_export: ClassVar[str] = "onnx"
    suggested_engine: ClassVar[str] = "onnxruntime"
    suggested_compression: ClassVar[str] = "int8-dynamic"

    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad the queries, then every different passage, on the right.

        ``input_ids`` and ``attention_mask`` are (rows + passages, T). ``labels`` is (rows,): the number of
        each query's passage. ``excluded``, bool (rows, passages), are the passages that answer the same query
        in another row of the batch, and so are no negatives.
        """
        import torch

        texts = [texts_of(row) for row in rows]
        numbers = {passage: number for number, passage in enumerate(_distinct(texts))}
        answers: defaultdict[Text, set[int]] = defaultdict(set)
        for query, passage, *_ in texts:
            answers[query].add(numbers[passage])
        excluded = torch.zeros(len(texts), len(numbers), dtype=torch.bool)
        for row, (query, passage, *_) in enumerate(texts):
            excluded[row, [*answers[query] - {numbers[passage]}]] = True
        sequences = [*(query for query, *_ in texts), *numbers]
        return {
            **padded_right([(torch.tensor(sequence),) for sequence in sequences], pad),
            "labels": torch.tensor([numbers[passage] for _, passage, *_ in texts]),
            "excluded": excluded,
        }

    def length(self, ids: list[int], labels: list[int]) -> int:
        """Return the tokens of the longest text: each is read alone."""
        return max(Counter(labels).values())

    def read_together(self, row: Example) -> list[int]:
        """Return the passage."""
        return [*texts_of(row)[1]]

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]]:
        """Truncate each text, but keep its end token."""
        texts = _split(ids, labels)
        kept = [text if len(text) <= limit else (*text[: limit - 1], text[-1]) for text in texts]
        return joined(kept)

    def weight(self, labels: "Tensor") -> int:
        """Return 1."""
        return 1

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of each query's passage among the batch's (InfoNCE).

        The logits are cosines divided by the temperature (van den Oord et al., 2018, arXiv:1807.03748).
        """
        import torch

        mask, targets = batch["attention_mask"], batch["labels"]
        outputs = model(input_ids=batch["input_ids"], attention_mask=mask)
        hidden, unused = outputs.last_hidden_state, getattr(outputs, "pooler_output", None)
        with torch.autocast(hidden.device.type, enabled=False):  # 8 bits are too few for the cosines
            vectors = mean_pooled(hidden, mask)
            cosines = vectors[: len(targets)] @ vectors[len(targets) :].T
            logits = (cosines / self.temperature).masked_fill(batch["excluded"], -torch.inf)
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        # DDP waits for a gradient of every weight, also of a pooler that no vector uses: it is 0.
        return loss if unused is None else loss + 0 * unused.float().sum()

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, the vectors of its texts, (texts, dimensions), each of length 1."""
        texts = [texts_of(row) for row in rows]
        vectors = embedded(engine, [text for of_row in texts for text in of_row])
        ends = [0]
        for of_row in texts:
            ends.append(ends[-1] + len(of_row))
        return [vectors[start:end] for start, end in pairwise(ends)]

    def agreement(self, expected: "np.ndarray", actual: "np.ndarray") -> float:
        """Return the smallest cosine of a text's two vectors."""
        return float((expected * actual).sum(-1).min())

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row of one text."""
        import numpy as np

        return np.array(ids), np.zeros(len(ids), np.int64)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return recall and mean reciprocal rank of each query's passage among all passages of *rows*.

        Equal passages count once. Other passages that answer the query are left out of its ranking. A
        passage with the same score comes first, so that equal vectors for all texts find nothing.
        """
        ranks = _Search(engine, rows).ranks()
        found = ranks <= _FIRST
        return {
            "recall_at_1": float((ranks == 1).mean()),
            "recall_at_10": float(found.mean()),
            "mrr_at_10": float((found / ranks).mean()),
        }

    def retrieve(
        self, engine: Engine, rows: Sequence[Example], count: int
    ) -> list[tuple[Sequence[int], ...]]:
        """Return the first *count* queries, their passages, and what *engine* finds among those of *rows*."""
        search = _Search(engine, rows)
        nearest = (search.queries[:count] @ search.passages.T).argmax(1)
        passages = [*search.numbers]
        return [
            (query, passage, passages[number])
            for (query, passage, *_), number in zip(search.texts, nearest.tolist(), strict=False)
        ]


class _Search:
    """The vectors of all queries and of every different passage: 4 bytes a dimension and text."""

    def __init__(self, engine: Engine, rows: Sequence[Example]) -> None:
        self.texts = [texts_of(row) for row in rows]
        self.numbers = {passage: number for number, passage in enumerate(_distinct(self.texts))}
        """The number of each passage, in the order of ``passages``."""
        queries = dict.fromkeys(query for query, *_ in self.texts)
        places = {query: place for place, query in enumerate(queries)}
        self.queries = embedded(engine, [*queries])[[places[query] for query, *_ in self.texts]]
        self.passages = embedded(engine, [*self.numbers])

    def ranks(self) -> "np.ndarray":
        """Return the rank of each query's passage, from 1, int64 (rows,)."""
        import numpy as np

        answers: defaultdict[Text, set[int]] = defaultdict(set)
        for query, passage, *_ in self.texts:
            answers[query].add(self.numbers[passage])
        ranks = np.zeros(len(self.texts), np.int64)
        for start in range(0, len(self.texts), _QUERIES):
            scores = self.queries[start : start + _QUERIES] @ self.passages.T
            for row, of_passages in enumerate(scores, start):
                query, passage, *_ = self.texts[row]
                own = self.numbers[passage]
                worse = of_passages < of_passages[own]
                worse[[*answers[query] - {own}]] = True
                ranks[row] = len(worse) - worse.sum()
        return ranks


def joined(texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Return the token ids of *texts* end to end, and the number of each token's text.

    >>> joined([[5, 6], [7]])
    ([5, 6, 7], [0, 0, 1])
    """
    ids = [token for text in texts for token in text]
    return ids, [number for number, text in enumerate(texts) for _ in text]


def texts_of(row: Example) -> list[Text]:
    """Return the texts of a row: its query, the passage that answers it, then the others."""
    return _split(row[0].tolist(), row[1].tolist())


def embedded(engine: Engine, texts: Sequence[Text]) -> "np.ndarray":
    """Return the vectors of *texts*, float32 (texts, dimensions); those of similar length share a call.

    Raises:
        ServeError: the engine does not embed.
    """
    import numpy as np

    model = require(engine, Embeds)
    vectors = np.zeros((len(texts), model.dimensions), np.float32)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), _TEXTS):
        chosen = order[start : start + _TEXTS]
        vectors[chosen] = model.embed([texts[number] for number in chosen])
    return vectors


def _split(ids: Sequence[int], labels: Sequence[int]) -> list[Text]:
    groups = groupby(zip(ids, labels, strict=True), key=itemgetter(1))
    return [tuple(token for token, _ in group) for _, group in groups]


def _distinct(texts: Sequence[Sequence[Text]]) -> dict[Text, None]:
    """Return every different passage, in order."""
    return dict.fromkeys(passage for _, *passages in texts for passage in passages)


TASK = TextEmbeddings
