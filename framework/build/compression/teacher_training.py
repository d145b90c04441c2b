"""Training with a teacher: the loss is what a model differs by from a better one, and from the labels.

It is no option of the group ``training``: only a compression knows who teaches.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.model import Model
from framework.build.training import Folders
from framework.build.training.supervised import Supervised
from framework.core.errors import StepError

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Distillation(Supervised):
    """Knowledge distillation (Hinton et al., 2015, arXiv:1503.02531), in the loop of supervised training.

    The teacher reads every batch beside the student, without dropout; where rows are packed it sees them
    packed, and of a language model's logits only those at labelled places are ever made.
    """

    taught: ClassVar[bool] = True

    temperature: Annotated[float, Field(gt=0)] = 2.0
    """What both models' logits are divided by: higher shows more of what the teacher thinks of wrong
    choices."""
    soft_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the divergence from the teacher; it is multiplied by the temperature squared, so that
    gradients stay as large whatever the temperature is."""
    hard_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the usual loss on the labels."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared difference between each layer's hidden states and those of the teacher's
    layer that is as far up, at the labelled places, or over a row's tokens where it has one label; 0
    compares answers only. Both must be equally wide."""

    def objective(
        self, task: "Task", base: Any, examples: "list[Example]", model: Model, folders: Folders
    ) -> "tuple[Task, list[Example]]":
        """Return the task with the teacher's opinion in its loss.

        Raises:
            StepError: there is no teacher, or it speaks of other tokens, classes or widths.
        """
        from framework.build.task.distillation import Distilled, Mix
        from framework.build.training.precision import hold_frozen

        if folders.teacher is None:
            raise StepError("training: distillation needs a teacher; set compression=distill")
        teacher: Any = model.open(folders.teacher).requires_grad_(False)
        self._compare(task, base, teacher, model, folders)
        hold_frozen(teacher, self.precision)
        mix = Mix(self.temperature, self.soft_weight, self.hard_weight, self.hidden_weight)
        return Distilled(task, teacher, mix), examples

    def _compare(self, task: "Task", base: Any, teacher: Any, model: Model, folders: Folders) -> None:
        """Refuse a teacher of whom *base* could not learn."""
        assert folders.teacher is not None
        one, other = (model.tokenizer(folder).get_vocab() for folder in (folders.model, folders.teacher))
        if one != other:
            raise StepError(
                f"distillation: the teacher has another vocabulary ({len(other)} tokens) than the student "
                f"({len(one)}), so their answers cannot be compared; choose a teacher of the same family"
            )
        if not task.generates and base.config.id2label != teacher.config.id2label:
            raise StepError(
                f"distillation: the teacher knows the classes {', '.join(teacher.config.id2label.values())}, "
                f"the student {', '.join(base.config.id2label.values())}; choose a teacher for the same"
            )
        if not self.hidden_weight:
            return
        if not task.pairs_layers:
            raise StepError(
                f"distillation: layers of a model for {task.name} cannot be paired; set "
                "compression.distill.training.hidden_weight=0"
            )
        if base.config.hidden_size != teacher.config.hidden_size:
            raise StepError(
                f"distillation: the teacher's layers are {teacher.config.hidden_size} wide, the student's "
                f"{base.config.hidden_size}; set compression.distill.training.hidden_weight=0"
            )
