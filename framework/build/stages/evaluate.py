"""Stage ``evaluate``: measure one candidate on the held-out rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.engine import Engine, Generates, open_engine, require
from framework.build.engine.model_folder import label_names
from framework.build.evaluation import Base, Evaluation
from framework.build.model import Model
from framework.build.task import LABEL_MASK, Example, Task, open_task
from framework.build.training.batches import read_examples
from framework.core.step import Stage, Workspace
from framework.core.workload import LIBRARIES, VOCABULARY, Estimate, Workload

METRICS = "metrics.json"
EXAMPLES = "examples.jsonl"
_AMONG = 1000
"""Rows among whose passages those of the examples are found: they are embedded a second time."""
METRIC_LOSS = "metric_loss"
"""The candidate's relative loss of ``main_metric`` against the tuned model: 0.25 from 0.8 to 0.6."""


class Evaluate(Stage):
    """Measure one candidate through its engine; writes ``metrics.json`` and ``examples.jsonl``."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 6
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnxruntime", "onnxruntime-genai")

    candidate: str
    """The prefix of the metrics: ``base``, ``tuned``, ``fp32``, ``int4`` …"""
    engine: str
    """The engine that runs the candidate."""
    model: Model
    """The model option: its task and its tokenizer."""
    evaluation: Evaluation
    """The metrics."""
    examples: Annotated[int, Field(ge=0)] = 2
    """Answers to write to ``examples.jsonl``, for people to read; a classifier writes four times as many,
    since each is fast."""

    def measures(self) -> Mapping[str, str]:
        """Return the candidate, which is input ``candidate``."""
        return {self.candidate: "candidate"}

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Evaluate input ``candidate`` on the test rows of input ``data``.

        The optional input ``tuned`` is the evaluation of the model that the candidate was made from.

        Raises:
            ServeError: the candidate cannot be opened, or cannot do what the task needs.
        """
        engine = open_engine(self.engine, inputs["candidate"])
        rows = read_examples(inputs["data"] / "test")
        tokenizer = self.model.tokenizer(inputs["data_model"])
        base = Base(
            decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
            open=lambda: open_engine("torch", inputs["data_model"]),
        )
        task = open_task(self.model.task)
        measured = self.evaluation.measure(engine, self.model.task, rows, base)
        if "tuned" in inputs:
            before = read_metrics(inputs["tuned"])
            tuned = {name.removeprefix("tuned."): value for name, value in before.items()}
            measured[METRIC_LOSS] = metric_loss(task, measured, tuned)
        write_metrics(output, {f"{self.candidate}.{name}": value for name, value in measured.items()})
        if task.embeds:
            examples = self._retrieved(task, engine, base, rows)
        elif task.generates:
            examples = self._answers(engine, base, rows)
        else:
            examples = self._choices(engine, base, rows, label_names(inputs["data_model"]))
        lines = [json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n" for entry in examples]
        (output / EXAMPLES).write_text("".join(lines), encoding="utf-8")

    def estimate(self, workload: Workload) -> Estimate:
        """Predict two operations a weight and token, and two answers of 32 tokens for each set of rows.

        Generating is bound by memory: each token reads every weight.
        """
        sizes, weights = workload.data.values(), workload.weight_bytes
        tokens = sum(min(size.test, self.evaluation.rows or size.test) * size.length for size in sizes)
        seconds = 2 * workload.parameters * tokens / workload.flops + len(sizes) * (3 + 64 * weights / 1e10)
        longest = max(size.length for size in sizes)
        return Estimate(seconds, LIBRARIES + weights + 4 * longest * VOCABULARY * 8)

    def _answers(self, engine: Engine, base: Base, rows: Sequence[Example]) -> list[dict[str, str]]:
        task, generator, answers = open_task(self.model.task), require(engine, Generates), []
        for row in task.right_rows(rows)[: self.examples]:
            prompt, reference = task.prompt_and_answer(row)
            generated = list(generator.generate(prompt, len(reference) + 16)) if prompt else []
            answers.append(
                {
                    "prompt": base.decode(prompt),
                    "expected": base.decode(reference),
                    "answer": base.decode(generated),
                }
            )
        return answers

    def _retrieved(
        self, task: Task, engine: Engine, base: Base, rows: Sequence[Example]
    ) -> list[dict[str, str]]:
        among = rows[: min(self.evaluation.rows or _AMONG, _AMONG)]
        found = task.retrieve(engine, among, 4 * self.examples)
        names = ("prompt", "expected", "answer")
        return [dict(zip(names, map(base.decode, texts), strict=True)) for texts in found]

    def _choices(
        self, engine: Engine, base: Base, rows: Sequence[Example], names: Sequence[str]
    ) -> list[dict[str, str]]:
        task = open_task(self.model.task)
        kept = rows[: 4 * self.examples]
        return [
            {
                "prompt": base.decode(row[0].tolist()),
                "expected": task.format_choices(row[1][row[1] != LABEL_MASK].tolist(), names),
                "answer": task.format_choices(logits.argmax(-1).tolist(), names),
            }
            for row, logits in zip(kept, task.logits(engine, kept), strict=True)
        ]


def main_metric(task: Task, tuned: Mapping[str, float]) -> str:
    """Return the metric whose loss is measured: the task's first.

    It is perplexity where the tuned model has none of the first, so that nothing could be lost: it answers no
    row of free text or documents exactly.

    Args:
        task: the task.
        tuned: the tuned model's metrics, by name.
    """
    first = task.metrics[0]
    return "perplexity" if "perplexity" in task.metrics and not tuned[first] else first


def metric_loss(task: Task, measured: Mapping[str, float], tuned: Mapping[str, float]) -> float:
    """Return ``METRIC_LOSS``: 0 if nothing is lost, negative if the candidate is better.

    Args:
        task: of both models.
        measured: the candidate's metrics, by name.
        tuned: the tuned model's metrics, by name.
    """
    metric = main_metric(task, tuned)
    before, after = tuned[metric], measured[metric]
    if metric == "perplexity":  # lower is better
        return after / before - 1
    return 1 - after / before if before else -after


def write_metrics(output: Path, metrics: dict[str, float]) -> None:
    """Write flat ``<candidate>.<metric>`` numbers as ``metrics.json``."""
    text = json.dumps({name: round(value, 6) for name, value in metrics.items()}, indent=2, sort_keys=True)
    (output / METRICS).write_text(text + "\n")


def read_metrics(folder: Path) -> dict[str, float]:
    """Read what ``write_metrics`` wrote."""
    metrics: dict[str, float] = json.loads((folder / METRICS).read_text())
    return metrics
