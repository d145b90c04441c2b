"""Preferences on the held-out rows: does a candidate favour the answer that people chose?"""

from collections.abc import Sequence

from framework.build.engine import Engine
from framework.build.evaluation import Base
from framework.build.evaluation.held_out import HeldOut
from framework.build.task import Example
from framework.core.errors import StepError

METRICS = ("preference_accuracy", "reward_accuracy", "reward_margin")


class PreferenceEvaluation(HeldOut):
    """What the task measures on the chosen answers, and how a candidate compares them with the rejected.

    ``preference_accuracy`` is the share of rows whose chosen answer the candidate finds likelier.
    ``reward_accuracy`` is the share in which it favours that answer more than the base model does, and
    ``reward_margin`` by how many nats on average: DPO's reward margin divided by ``beta``.
    """

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*, and those of preferences."""
        return (*super().metrics(task), *METRICS)

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Measure the first ``rows`` examples with *engine* and with the base model.

        Raises:
            StepError: a row has no rejected answer.
        """
        from framework.build.task.preference_pairs import preferred

        if base is None:
            raise StepError("evaluation=preference compares with the base model, and there is none")
        rows = examples[: self.rows]
        favoured = preferred(engine, rows)
        gained = favoured - preferred(base.open(), rows)
        return {
            **super().measure(engine, task, examples, base),
            "preference_accuracy": float((favoured > 0).float().mean()),
            "reward_accuracy": float((gained > 0).float().mean()),
            "reward_margin": float(gained.mean()),
        }
