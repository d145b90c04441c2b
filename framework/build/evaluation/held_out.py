"""The task's metrics on the held-out rows, the same for every engine."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from framework.build.engine import Engine
from framework.build.evaluation import Base, Evaluation
from framework.build.evaluation.text_metrics import METRICS, compare
from framework.build.task import Example, open_task


class HeldOut(Evaluation):
    """What the task measures, such as exact match and perplexity or accuracy and macro-F1."""

    generate_rows: Annotated[int, Field(ge=0)] = 0
    """Rows that an answer is written to, greedily, and compared with the right one: BLEU, ROUGE and how
    various the answers are. 0 measures none of that; a row takes as long as its answer. Tasks that write
    no text, and documents, which answer nothing, are left out."""
    new_tokens: Annotated[int, Field(ge=1)] = 128
    """Most tokens of an answer that is written so."""

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*, and those of written answers where there are any."""
        return (*open_task(task).metrics, *(METRICS if self._writes(task) else ()))

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Measure the first ``rows`` examples by the task and ``evaluation.text_metrics``."""
        rows = examples[: self.rows]
        found = open_task(task).measure(engine, rows)
        if self._writes(task) and base is not None:
            found |= self._written(engine, task, rows, base)
        return found

    def _writes(self, task: str) -> bool:
        return self.generate_rows > 0 and open_task(task).generates

    def _written(self, engine: Engine, task: str, rows: Sequence[Example], base: Base) -> dict[str, float]:
        asked = [open_task(task).asked(row) for row in rows[: self.generate_rows]]
        pairs = [
            (base.decode(list(engine.generate(prompt, self.new_tokens))), base.decode(answer))
            for prompt, answer in asked
            if prompt
        ]
        return compare([written for written, _ in pairs], [right for _, right in pairs])
