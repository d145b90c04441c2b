"""The task's own metrics on the held-out rows, computed alike for every engine."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from framework.build.engine import Engine, Generates, require
from framework.build.evaluation import Base, Evaluation
from framework.build.evaluation.text_metrics import METRICS, compare
from framework.build.task import Example, open_task
from framework.core.errors import StepError


class HeldOut(Evaluation):
    """The task's metrics, such as exact match and perplexity, or accuracy and macro F1.

    Of answers with a label (KTO), only those with label true are right ones to measure on; the others are
    left out.
    """

    generate_rows: Annotated[int, Field(ge=0)] = 0
    """Rows to generate an answer for, greedily, and to compare with the reference: BLEU, ROUGE and
    distinct-n. 0 skips these metrics. The time of a row grows with its answer. Ignored for tasks that do
    not generate, and for documents, which have no prompt."""
    new_tokens: Annotated[int, Field(ge=1)] = 128
    """Most tokens of a generated answer."""

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*, and those of generated answers if any are generated."""
        return (*open_task(task).metrics, *(METRICS if self._generates(task) else ()))

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Return the metrics of the task and of ``evaluation.text_metrics``; see the base class.

        Raises:
            StepError: every row has a bad answer.
        """
        right = open_task(task).right_rows(examples)
        if bad := len(examples) - len(right):
            of = f"{bad} of {len(examples)} test rows"
            print(
                f"  {of} have label false; their answers are bad ones, so they are not measured", flush=True
            )
        if bad and not right:
            raise StepError("evaluation: every test row has label false; add good answers to the test rows")
        rows = right[: self.rows]
        metrics = open_task(task).measure(engine, rows)
        if self._generates(task) and base is not None:
            metrics |= self._compare_generated(engine, task, rows, base)
        return metrics

    def _generates(self, task: str) -> bool:
        return self.generate_rows > 0 and open_task(task).generates

    def _compare_generated(
        self, engine: Engine, task: str, rows: Sequence[Example], base: Base
    ) -> dict[str, float]:
        generator = require(engine, Generates)
        generated, references = [], []
        for row in rows[: self.generate_rows]:
            prompt, answer = open_task(task).prompt_and_answer(row)
            if prompt:
                generated.append(base.decode(list(generator.generate(prompt, self.new_tokens))))
                references.append(base.decode(answer))
        return compare(generated, references)
