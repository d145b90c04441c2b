"""Stage ``parity``: compare each export with the PyTorch model that it was made from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.engine import Generates, open_engine, require
from framework.build.engine.batches import answers_together, generate_all, open_batches
from framework.build.engine.bit_width import count_widths
from framework.build.engine.model_folder import context_length, end_of_sequence, room
from framework.build.export import Parity
from framework.build.stages.evaluate import write_metrics
from framework.build.task import Example, Task, open_task
from framework.build.training.batches import read_examples
from framework.core.step import Stage, Workspace
from framework.core.workload import LIBRARIES, Estimate, Workload

if TYPE_CHECKING:
    import numpy as np

_NEW_TOKENS = 32
BATCHED = "batched_agreement"
"""The metric's name for how answers alone and in a batch agree."""
BATCHED_EXACT = "batched_exact_match"
"""The metric's name for how many answers in a batch are their references."""
BATCHED_LOSS = "batched_metric_loss"
"""The relative loss of that share against the same answers alone: 0.25 from 0.8 to 0.6."""
WIDTHS = (4, 8, 16)
"""Bit widths that a compressed file can claim."""


def width_metric(bits: int) -> str:
    """Return the metric's name for the share of weights that take at most *bits*.

    >>> width_metric(4)
    'weights_4_bit_share'
    """
    return f"weights_{bits}_bit_share"


@dataclass(frozen=True)
class Answers:
    """One engine's outputs on the compared rows."""

    logits: "list[np.ndarray]"
    """For each row: (its labels, choices)."""
    generations: list[list[int]]
    """Greedy answers as token ids."""


class CompareExports(Stage):
    """Compare every candidate with PyTorch on the same held-out rows.

    Metrics of each candidate: ``max_difference`` and ``mean_difference`` (of logits, absolute),
    ``agreement`` (share of labels with the same argmax), ``generation_agreement`` (share of greedy answers
    that are equal; only where the task generates), and ``weights_4_bit_share``, ``weights_8_bit_share`` and
    ``weights_16_bit_share`` (share of weights in its files that take at most so many bits).

    Where its engine batches: ``batched_agreement`` (share of its own greedy answers that are equal alone and
    in a batch), ``batched_exact_match`` (share of those in the batch that are their references, as far as
    they are generated), and ``batched_metric_loss`` (its relative loss against the same answers alone).
    """

    name: ClassVar[str] = "parity"
    version: ClassVar[int] = 5
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnxruntime", "onnxruntime-genai")

    parity: Parity
    """How many rows to compare; the bounds are for the gate."""
    task: str
    """The model's task."""
    engine: str
    """The candidates' engine."""
    candidates: tuple[str, ...]
    """The candidates' labels, which are also the slots of the inputs."""

    def measures(self) -> Mapping[str, str]:
        """Return the compared candidates, each with the input of its name."""
        return {name: name for name in self.candidates}

    @staticmethod
    def metrics(task: str, parity: Parity, engine: str) -> tuple[str, ...]:
        """Return each candidate's metrics, so that a gate can be checked before anything runs.

        Args:
            task: the model's.
            parity: how many rows are compared.
            engine: the candidates'.

        Raises:
            ServeError: there is no such engine.
        """
        names = ["max_difference", "mean_difference", "agreement", *map(width_metric, WIDTHS)]
        if open_task(task).generates:
            names += ["generation_agreement"] if parity.generations else []
            names += [BATCHED, BATCHED_EXACT, BATCHED_LOSS] if batched_rows(parity, engine) else []
        return tuple(names)

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compare each candidate's input with input ``model`` on the test rows of input ``data``.

        Raises:
            ServeError: a folder cannot be opened, or cannot do what the task needs.
        """
        rows = read_examples(inputs["data"] / "test")[: self.parity.rows]
        reference = self._answers("torch", inputs["model"], rows, self.parity.generations)
        together = batched_rows(self.parity, self.engine) if open_task(self.task).generates else 0
        metrics: dict[str, float] = {}
        for candidate in self.candidates:
            folder, generations = inputs[candidate], max(self.parity.generations, together)
            answers = self._answers(self.engine, folder, rows, generations)
            widths = count_widths(folder)
            shares = {width_metric(bits): widths.share(bits) for bits in WIDTHS}
            compared = _compare(reference, answers, open_task(self.task)) | shares
            if together:
                alone = answers.generations[:together]
                compared |= self._batched(folder, rows[:together], alone)
            metrics |= {f"{candidate}.{name}": value for name, value in compared.items()}
        write_metrics(output, metrics)

    def estimate(self, workload: Workload) -> Estimate:
        """Predict three candidates: a forward pass over the compared rows, then their generations."""
        size, weights = workload.data["data"], workload.weight_bytes
        compared = min(size.test, self.parity.rows)
        seconds = 3 + 3 * 2 * workload.parameters * compared * size.length / workload.flops
        alone = max(self.parity.generations, batched_rows(self.parity, self.engine))
        seconds += 3 * alone * _NEW_TOKENS * weights / 1e10
        return Estimate(seconds, LIBRARIES + 3 * weights)

    def _answers(self, engine_name: str, folder: Path, rows: Sequence[Example], generations: int) -> Answers:
        """Return one engine's outputs; the engine is freed on return, so only one model is open at a time."""
        engine, task = open_engine(engine_name, folder), open_task(self.task)
        # Row by row, so that only the labels' logits stay in memory.
        logits = [labels for row in rows for labels in task.logits(engine, [row])]
        if not task.generates:
            return Answers(logits, [])
        generator = require(engine, Generates)
        prompts = self._prompts(rows[:generations])
        return Answers(logits, [list(generator.generate(prompt, _NEW_TOKENS)) for prompt in prompts])

    def _prompts(self, rows: Sequence[Example]) -> list[list[int]]:
        """Return each row's prompt; a document has none, and its first token serves as one."""
        task = open_task(self.task)
        return [task.prompt_and_answer(row)[0] or row[0][:1].tolist() for row in rows]

    def _batched(self, folder: Path, rows: Sequence[Example], alone: Sequence[list[int]]) -> dict[str, float]:
        """Return the metrics of answers in a batch, some of them against those *alone*.

        Raises:
            ServeError: the engine cannot open the folder for several answers at once.
        """
        prompts, context = self._prompts(rows), context_length(folder)
        limits = [room(len(prompt), _NEW_TOKENS, context) for prompt in prompts]
        open_ended = [number for number, limit in enumerate(limits) if limit]  # others fill the context
        batches = open_batches(self.engine, folder, width=len(prompts))
        together = generate_all(batches, [prompts[n] for n in open_ended], [limits[n] for n in open_ended])
        serial = [alone[number] for number in open_ended]
        ends = end_of_sequence(folder)
        right = [self._reference(rows[number], ends)[: limits[number]] for number in open_ended]
        before, after = _share_of_equal(serial, right), _share_of_equal(together, right)
        loss = 1 - after / before if before else -after
        return {BATCHED: _share_of_equal(serial, together), BATCHED_EXACT: after, BATCHED_LOSS: loss}

    def _reference(self, row: Example, ends: Collection[int]) -> list[int]:
        """Return the tokens that should follow the row's prompt, up to the first that ends an answer."""
        prompt, answer = open_task(self.task).prompt_and_answer(row)
        tokens = answer if prompt else row[0][1:].tolist()
        return list(takewhile(lambda token: token not in ends, tokens))


def _share_of_equal(some: Sequence[list[int]], others: Sequence[list[int]]) -> float:
    """Return the share of equal pairs; 1 if there are none."""
    same = [one == other for one, other in zip(some, others, strict=True)]
    return sum(same) / len(same) if same else 1.0


def batched_rows(parity: Parity, engine: str) -> int:
    """Return how many rows *parity* compares in batches; 0 if the engine has none.

    Raises:
        ServeError: there is no such engine.
    """
    return parity.batched if answers_together(engine) else 0


def _compare(reference: Answers, answers: Answers, task: Task) -> dict[str, float]:
    import numpy as np

    expected, actual = np.concatenate(reference.logits), np.concatenate(answers.logits)
    differences = np.abs(expected - actual)
    metrics = {
        "max_difference": float(differences.max()),
        "mean_difference": float(differences.mean()),
        "agreement": task.agreement(expected, actual),
    }
    if compared := len(reference.generations):
        pairs = zip(reference.generations, answers.generations[:compared], strict=True)
        same = [expected_ids == ids for expected_ids, ids in pairs]
        metrics["generation_agreement"] = sum(same) / len(same)
    return metrics
