"""The task's metrics on the held-out rows, the same for every engine."""

from collections.abc import Sequence

from framework.engine import Engine
from framework.evaluation import Base, Evaluation
from framework.task import Example, open_task


class HeldOut(Evaluation):
    """What the task measures, such as exact match and perplexity or accuracy and macro-F1."""

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*."""
        return open_task(task).metrics

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Measure the first ``rows`` examples; see the task for the metrics."""
        return open_task(task).measure(engine, list(examples)[: self.rows])
