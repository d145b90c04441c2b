"""Preference metrics on the held-out rows: does a candidate prefer the chosen answer?"""

from collections.abc import Sequence

from framework.build.engine import Engine
from framework.build.evaluation import Base
from framework.build.evaluation.held_out import HeldOut
from framework.build.task import Example
from framework.core.errors import StepError

METRICS = ("preference_accuracy", "reward_accuracy", "reward_margin")


class PreferenceEvaluation(HeldOut):
    """The task's metrics on the chosen answers, and preferences between chosen and rejected answers.

    ``preference_accuracy`` is the share of rows whose chosen answer is more likely under the candidate.
    ``reward_accuracy`` is the share in which the candidate's log-ratio of chosen and rejected answer
    exceeds the base model's. ``reward_margin`` is that difference, averaged, in nats: DPO's reward margin
    divided by ``beta``.
    """

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*, and those of preferences."""
        return (*super().metrics(task), *METRICS)

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Return the metrics of *engine* and the base model on the first ``rows`` examples.

        Raises:
            StepError: a row has no rejected answer, or there is no base model.
        """
        from framework.build.task.preference_pairs import preferred

        if base is None:
            raise StepError("evaluation=preference needs the base model; set evaluation=held-out")
        rows = list(examples)[: self.rows]
        log_ratios = preferred(engine, rows)
        margins = log_ratios - preferred(base.open(), rows)
        return {
            **super().measure(engine, task, examples, base),
            "preference_accuracy": float((log_ratios > 0).float().mean()),
            "reward_accuracy": float((margins > 0).float().mean()),
            "reward_margin": float(margins.mean()),
        }
