"""Stage ``parity``: how far each export is from the PyTorch model that it was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.export import Parity
from framework.build.stages.evaluate import write_metrics
from framework.build.task import Example, open_task
from framework.build.training.batches import read_examples
from framework.core.step import Stage, Workspace

if TYPE_CHECKING:
    import numpy as np

_NEW_TOKENS = 32
WIDTHS = (4, 8, 16)
"""Bits that a compressed file may claim."""


def width_metric(bits: int) -> str:
    """Return the name of the share of weights that take at most *bits*.

    >>> width_metric(4)
    'weights_4_bit_share'
    """
    return f"weights_{bits}_bit_share"


@dataclass(frozen=True)
class Answers:
    """What one engine says to the compared rows."""

    logits: "list[np.ndarray]"
    """For each row (its labels, choices)."""
    generations: list[list[int]]
    """Greedy answers as token ids."""


class CompareExports(Stage):
    """Compare every candidate with PyTorch on the same held-out rows.

    Metrics for each candidate: ``max_difference`` and ``mean_difference`` (of logits, absolute),
    ``agreement`` (share of labelled positions, or of rows, with the same arg-max), for language models
    ``generation_agreement`` (share of whole greedy generations that are equal), and what its files hold:
    ``weights_8_bit_share`` and the like (share of weights that take at most so many bits).
    """

    name: ClassVar[str] = "parity"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnxruntime", "onnxruntime-genai")

    parity: Parity
    """How many rows are compared; the bounds themselves belong to the gate."""
    task: str
    """The model's task."""
    engine: str
    """The engine of the candidates."""
    candidates: tuple[str, ...]
    """Labels of the candidates, which are also the slots of the inputs."""

    @staticmethod
    def metrics(task: str) -> tuple[str, ...]:
        """Return the names that each candidate gets for *task*, so that a gate can be checked early."""
        found = ("max_difference", "mean_difference", "agreement", *map(width_metric, WIDTHS))
        return (*found, "generation_agreement") if open_task(task).generates else found

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compare each candidate's input with input ``model`` on the test rows of input ``data``."""
        rows = read_examples(inputs["data"] / "test")[: self.parity.rows]
        wanted = self._answers("torch", inputs["model"], rows)
        metrics: dict[str, float] = {}
        for candidate in self.candidates:
            given = self._answers(self.engine, inputs[candidate], rows)
            widths = count_widths(inputs[candidate])
            found = _compare(wanted, given) | {width_metric(bits): widths.share(bits) for bits in WIDTHS}
            metrics |= {f"{candidate}.{name}": value for name, value in found.items()}
        write_metrics(output, metrics)

    def _answers(self, engine_name: str, folder: Path, rows: Sequence[Example]) -> Answers:
        """Ask one engine all that is compared; it is closed again, so that one model is open at a time."""
        engine, task = open_engine(engine_name, folder), open_task(self.task)
        # Row by row: only the labels' logits of each are kept.
        logits = [found for row in rows for found in task.logits(engine, [row])]
        compared = rows[: self.parity.generations] if task.generates else ()
        prompts = [task.asked(row)[0] or row[0][:1].tolist() for row in compared]
        return Answers(logits, [list(engine.generate(prompt, _NEW_TOKENS)) for prompt in prompts])


def _compare(wanted: Answers, given: Answers) -> dict[str, float]:
    import numpy as np

    one, other = np.concatenate(wanted.logits), np.concatenate(given.logits)
    apart = np.abs(one - other)
    found = {
        "max_difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
        "agreement": float((one.argmax(-1) == other.argmax(-1)).mean()),
    }
    if wanted.generations:
        same = [a == b for a, b in zip(wanted.generations, given.generations, strict=True)]
        found["generation_agreement"] = sum(same) / len(same)
    return found
