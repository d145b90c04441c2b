"""Kahneman-Tversky optimization (KTO) on answers with a label: desirable or undesirable.

It knows the answers and a reference model's log-probabilities of them; not which model that is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, overload

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example
from framework.build.task.causal_lm import JUDGED_PARTS, CausalLanguageModeling
from framework.build.task.preference_pairs import TENSORS as PAIR_PARTS
from framework.build.task.preference_pairs import log_probabilities, log_probability
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor

PARTS = 6
"""Tensors of an answer that ``with_reference`` prepared: ids and labels, ids and labels of the mismatched
answer, ``desirable``, and the reference's log-probabilities of both."""


class Answer(NamedTuple):
    """An answer with its prompt, and whether it is a good one."""

    ids: "Tensor"
    labels: "Tensor"
    desirable: bool


class Judgments(CausalLanguageModeling):
    """A row has one answer with a label, or a pair's two answers, each with the tensors of ``PARTS``."""

    packs: ClassVar[bool] = False

    def __init__(
        self,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        answers: int = 1,
    ) -> None:
        self.beta = beta
        self.desirable_weight, self.undesirable_weight = desirable_weight, undesirable_weight
        self.answers = answers
        """Answers of a row: 2 for pairs."""

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad the answers (rows * answers, T), and the mismatched ones, with names ``mismatched_…``.

        There are also ``desirable``, bool (rows * answers,), and ``reference``, float32 (rows * answers, 2).
        """
        import torch

        answers = [row[start : start + PARTS] for row in rows for start in range(0, len(row), PARTS)]
        mismatched = super().collate([answer[2:4] for answer in answers], pad)
        return {
            **super().collate([answer[:2] for answer in answers], pad),
            **{f"{_MISMATCHED}{name}": value for name, value in mismatched.items()},
            "desirable": torch.cat([answer[4] for answer in answers]).bool(),
            "reference": torch.stack([answer[5] for answer in answers]),
        }

    def weight(self, labels: "Tensor") -> int:
        """Return the answers of a row: each has one loss."""
        return self.answers

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed loss of the answers, arXiv:2402.01306, section 4.

        With r the log-ratio of the model and the reference for an answer, in nats, its loss is
        ``desirable_weight * (1 - sigmoid(beta * (r - z0)))`` if it is desirable, and
        ``undesirable_weight * (1 - sigmoid(beta * (z0 - r)))`` if not.

        z0 estimates how far the model has moved from the reference: their divergence, as the mean log-ratio
        of the batch's mismatched answers, at least 0 and without a gradient. The batch is one micro batch of
        one device, so z0 is the mean of as many log-ratios as the micro batch has answers.
        """
        import torch

        # The answers go first: noise is added to the first call, and autocast would keep weights that the
        # call without gradients has cast.
        own = {name: value for name, value in batch.items() if name in _INPUTS}
        ratios = log_probabilities(model, own) - batch["reference"][:, 0]
        with torch.no_grad():
            other = {name: batch[f"{_MISMATCHED}{name}"] for name in own}
            z0 = (log_probabilities(model, other) - batch["reference"][:, 1]).mean().clamp(min=0)
        desirable = batch["desirable"]
        gains = torch.where(desirable, ratios - z0, z0 - ratios)
        # 1 - sigmoid(x) is sigmoid(-x), which keeps small values.
        losses = torch.sigmoid(-self.beta * gains)
        return torch.where(desirable, self.desirable_weight * losses, self.undesirable_weight * losses).sum()


_MISMATCHED = "mismatched_"
_INPUTS = ("input_ids", "attention_mask", "position_ids", "labels")


def answers_of(row: Example) -> tuple[Answer, ...]:
    """Return the answer of a row with a label, or both of a pair: chosen is desirable, rejected is not.

    It is empty for other rows.
    """
    if len(row) == JUDGED_PARTS:
        return (Answer(row[0], row[1], bool(row[2])),)
    if len(row) == PAIR_PARTS:
        return Answer(row[0], row[1], True), Answer(row[2], row[3], False)
    return ()


class _WithReference(Sequence[Example]):
    """Rows of one or two answers, each with the tensors of ``PARTS``; the rows stay where they are stored."""

    def __init__(
        self, rows: Sequence[Example], partners: Sequence[int], longest: int, reference: "Tensor"
    ) -> None:
        self._rows, self._partners, self._longest = rows, partners, longest
        self.reference = reference
        """The reference's log-probabilities, float32 (rows, answers, 2); set after the rows are known."""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        import torch

        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        own, others = answers_of(self._rows[index]), answers_of(self._rows[self._partners[index]])
        parts: list[Tensor] = []
        for answer, other, reference in zip(own, others, self.reference[index], strict=True):
            ids, labels = _mismatch(answer, other, self._longest)
            parts += [*answer[:2], ids, labels, torch.tensor([int(answer.desirable)]), reference]
        return tuple(parts)


def with_reference(model: Any, rows: Sequence[Example], pad: int, seed: int) -> Sequence[Example]:
    """Return *rows* with *model*'s log-probabilities of their answers and of mismatched ones.

    A mismatched answer is that of another row after the row's own prompt. Which row that is, *seed* decides
    once: the next one with another prompt in a random order. So the log-probabilities are computed once. It
    is cut where it would be longer than the longest row.

    Raises:
        StepError: a row has no label and is no pair, all labels are the same, or all prompts are.
    """
    import torch

    prompts, longest = _check(rows)
    partners = _partners(prompts, seed)
    answers = len(answers_of(rows[0]))
    prepared = _WithReference(rows, partners, longest, torch.zeros(len(rows), answers, 2))
    task, reference = CausalLanguageModeling(), []
    with torch.no_grad():
        for row in prepared:
            starts = range(0, len(row), PARTS)
            sequences = [row[start + part : start + part + 2] for start in starts for part in (0, 2)]
            sums = log_probabilities(model, task.collate(sequences, pad))
            reference.append(sums.reshape(answers, 2).cpu())
    prepared.reference = torch.stack(reference)
    return prepared


def rewards(engine: Engine, base: Engine, rows: Sequence[Example]) -> "tuple[Tensor, Tensor]":
    """Return the log-ratio of *engine* and *base* for each row's answer, in nats, and ``desirable``: (rows,).

    The rows have labels.
    """
    import torch

    ratios, desirable = [], []
    for ids, labels, label in rows:
        ratios.append(log_probability(engine, ids, labels) - log_probability(base, ids, labels))
        desirable.append(bool(label))
    return torch.stack(ratios), torch.tensor(desirable)


def _check(rows: Sequence[Example]) -> tuple[list[int], int]:
    """Return a hash of each row's prompt, and the tokens of the longest answer with its prompt.

    Raises:
        StepError: a row has no label and is no pair, or all labels are the same.
    """
    prompts, longest, kinds = [], 0, set()
    for number, row in enumerate(rows, 1):
        answers = answers_of(row)
        if not answers:
            raise StepError(
                f"training: row {number} has no label; KTO learns from rows with 'label': true or false, set "
                "training=supervised, or add the labels"
            )
        kinds |= {answer.desirable for answer in answers}
        longest = max(longest, *(len(answer.ids) for answer in answers))
        prompts.append(hash(answers[0].ids[: _start(answers[0])].numpy().tobytes()))
    if kinds == {True}:
        raise StepError(
            "training: every row has label true; KTO learns from bad answers too, set training=supervised"
        )
    if kinds == {False}:
        raise StepError("training: every row has label false; KTO learns from good answers too, add some")
    return prompts, longest


def _partners(prompts: Sequence[int], seed: int) -> list[int]:
    """Return, for each row, the next one in a random order that has another prompt.

    >>> _partners([7, 8], 0), _partners([7, 7, 8], 0)[:2]
    ([1, 0], [2, 2])

    Raises:
        StepError: all prompts are the same.
    """
    import numpy as np

    if len(set(prompts)) < 2:
        raise StepError(
            "training: all rows have the same prompt, and KTO compares answers to different ones; add some"
        )
    # A stream of its own: batches are drawn from [seed, pass], validation rows from [seed, 0, 1].
    order = np.random.default_rng([seed, 0, 2]).permutation(len(prompts)).tolist()
    partners = [-1] * len(prompts)
    # Backward and twice around, so that the last rows find the first ones.
    for position in range(2 * len(order) - 1, -1, -1):
        row, following = order[position % len(order)], order[(position + 1) % len(order)]
        partners[row] = following if prompts[following] != prompts[row] else partners[following]
    return partners


def _mismatch(answer: Answer, other: Answer, longest: int) -> "tuple[Tensor, Tensor]":
    """Return the ids and labels of *other*'s answer after *answer*'s prompt, at most *longest* tokens."""
    import torch

    prompt = answer.ids[: _start(answer)]
    learned = other.labels[other.labels != LABEL_MASK][: longest - len(prompt)]
    return torch.cat([prompt, learned]), torch.cat([torch.full_like(prompt, LABEL_MASK), learned])


def _start(answer: Answer) -> int:
    """Return the number of the answer's first token, which is the length of the prompt."""
    return int((answer.labels != LABEL_MASK).int().argmax())
