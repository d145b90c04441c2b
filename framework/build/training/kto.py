"""Kahneman-Tversky optimization (KTO)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.training.run import TrainingRun
from framework.build.training.supervised import Supervised

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Kto(Supervised):
    """Learn from single answers that people called good or bad (Ethayarajh et al., 2024, arXiv:2402.01306).

    Rows have ``prompt``, ``completion`` and ``label``, true or false, and both kinds are needed. Of pairs,
    ``chosen`` is learned as a good and ``rejected`` as a bad answer. An answer becomes more or less likely
    as its log-ratio to the reference compares with z0, the divergence from the reference. z0 is the mean
    log-ratio of mismatched answers, at least 0, without a gradient: each row of a micro batch has the answer
    of another row, drawn once by the seed, after its own prompt. So z0 is as exact as a micro batch is large,
    and a micro batch of one row is refused.

    The reference is the base model. Its log-probabilities are computed once, before training, also of the
    mismatched answers. A step has one more forward pass, over the mismatched answers.
    """

    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    compares: ClassVar[bool] = True
    judges: ClassVar[bool] = True
    least_rows: ClassVar[int] = 2

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull toward the reference: a smaller value lets the model move further from it."""
    desirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the loss of good answers. Where there are more of one kind, choose the weights so that the
    good answers' weight times their number is 1 to 4/3 of the bad answers'."""
    undesirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the loss of bad answers."""

    def objective(
        self, task: "Task", base: Any, examples: "Sequence[Example]", run: TrainingRun
    ) -> "tuple[Task, Sequence[Example]]":
        """Return the task with KTO's loss, and the rows with *base*'s log-probabilities of their answers.

        Raises:
            StepError: rows have no labels or only one kind, or all prompts are the same.
        """
        from framework.build.task.judged_answers import Judgments, answers_of, with_reference

        rows = with_reference(base, examples, base.config.pad_token_id or 0, run.seed)
        answers = len(answers_of(examples[0]))
        return Judgments(self.beta, self.desirable_weight, self.undesirable_weight, answers), rows
