"""Direct preference optimization (DPO)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.training.run import TrainingRun
from framework.build.training.supervised import Supervised

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Dpo(Supervised):
    """Direct preference optimization without a reward model (Rafailov et al., 2023, arXiv:2305.18290).

    Rows have ``prompt``, ``chosen`` and ``rejected``. The reference is the base model. Its
    log-probabilities are computed once, before training, so every tuning method works and no second model
    is kept in memory.
    """

    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    compares: ClassVar[bool] = True

    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the pull toward the reference: a smaller value lets the model move further from it."""

    def objective(
        self, task: "Task", base: Any, examples: "Sequence[Example]", run: TrainingRun
    ) -> "tuple[Task, Sequence[Example]]":
        """Return the preference task, and the rows with *base*'s log-probabilities of both answers."""
        from framework.build.task.preference_pairs import Preferences, with_reference

        return Preferences(self.beta), with_reference(base, examples, base.config.pad_token_id or 0)
