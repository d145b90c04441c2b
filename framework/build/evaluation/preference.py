"""Preference metrics on the held-out rows: does a candidate prefer the chosen, or the good, answers?"""

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

    Rows with a label (KTO) have one answer, and no ``preference_accuracy``. The reward is the answer's
    log-ratio of the candidate and the base model. ``reward_accuracy`` is the share of rows in which it is
    positive for label true, or negative for label false, and ``reward_margin`` is the mean reward, in nats,
    with the sign turned for label false. The task's metrics are those of the rows with label true.
    """

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*, and those of preferences; rows with labels lack the first of them."""
        return (*super().metrics(task), *METRICS)

    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Return the metrics of *engine* and the base model on the first ``rows`` examples.

        Raises:
            StepError: a row has no rejected answer and no label, or there is no base model.
        """
        from framework.build.task.causal_lm import JUDGED_PARTS

        if base is None:
            raise StepError("evaluation=preference needs the base model; set evaluation=held-out")
        rows = examples[: self.rows]
        judged = len(rows[0]) == JUDGED_PARTS
        compared = _compare_labels(engine, rows, base) if judged else _compare_pairs(engine, rows, base)
        return {**super().measure(engine, task, examples, base), **compared}


def _compare_pairs(engine: Engine, rows: Sequence[Example], base: Base) -> dict[str, float]:
    from framework.build.task.preference_pairs import preferred

    log_ratios = preferred(engine, rows)
    margins = log_ratios - preferred(base.open(), rows)
    values = (log_ratios > 0).float().mean(), (margins > 0).float().mean(), margins.mean()
    return {name: float(value) for name, value in zip(METRICS, values, strict=True)}


def _compare_labels(engine: Engine, rows: Sequence[Example], base: Base) -> dict[str, float]:
    import torch

    from framework.build.task.judged_answers import rewards

    rewarded, desirable = rewards(engine, base.open(), rows)
    margins = torch.where(desirable, rewarded, -rewarded)
    values = (margins > 0).float().mean(), margins.mean()
    return {name: float(value) for name, value in zip(METRICS[1:], values, strict=True)}
