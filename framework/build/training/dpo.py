"""Preference tuning: of two answers, the one that people chose becomes likelier than the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.model import Model
from framework.build.training import Folders
from framework.build.training.supervised import Supervised

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Dpo(Supervised):
    """Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290), without a reward model.

    The reference is the model as training finds it; its log-probabilities are taken once, before any
    weight moves, so that every tuning method can be used and no second model is held. Rows have
    ``prompt``, ``chosen`` and ``rejected``.
    """

    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How soon a preference counts as learnt: a small one lets the model go further from the reference."""

    def objective(
        self, task: "Task", base: Any, examples: "Sequence[Example]", model: Model, folders: Folders
    ) -> "tuple[Task, Sequence[Example]]":
        """Return preferences as the task, and the rows with what *base* makes of their answers."""
        from framework.build.task.preference_pairs import Preferences, with_reference

        return Preferences(self.beta), with_reference(base, examples, base.config.pad_token_id or 0)
