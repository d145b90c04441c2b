"""Training with a teacher: the loss compares the student with the teacher and with the labels.

Not an option of the group ``training``: only a compression has a teacher.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.model import Model
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.core.errors import StepError

if TYPE_CHECKING:
    from framework.build.task import Example, Task


class Distillation(Supervised):
    """Knowledge distillation (Hinton et al., 2015, arXiv:1503.02531) in the supervised training loop.

    The teacher sees the same batches as the student, packed or padded, without dropout. For language models,
    logits are computed at labeled positions only.
    """

    taught: ClassVar[bool] = True

    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Divisor of both models' logits: a higher temperature gives the teacher's less likely choices more
    weight."""
    soft_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the KL divergence from the teacher. It is multiplied by the squared temperature, which keeps
    the size of the gradients independent of the temperature."""
    hard_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the loss on the labels."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared difference between the hidden states of each layer and the teacher's layer
    at the same relative depth. It is measured at labeled positions, or over all tokens of a row with
    one label. Both models must have the same hidden size; 0 compares logits only."""

    def objective(
        self, task: "Task", base: Any, examples: "list[Example]", run: TrainingRun
    ) -> "tuple[Task, list[Example]]":
        """Return the task with the divergence from the teacher in its loss.

        Raises:
            StepError: there is no teacher, or its vocabulary, classes or hidden size differ.
        """
        from framework.build.task.distillation import Distilled, Mix
        from framework.build.training.precision import cast_frozen

        model, folders = run.model, run.folders
        if folders.teacher is None:
            raise StepError("training: distillation requires a teacher; set compression=distill")
        teacher: Any = model.open(folders.teacher).requires_grad_(False)
        self._compare(task, base, teacher, model, folders)
        cast_frozen(teacher, self.precision)
        mix = Mix(self.temperature, self.soft_weight, self.hard_weight, self.hidden_weight)
        return Distilled(task, teacher, mix), examples

    def _compare(self, task: "Task", base: Any, teacher: Any, model: Model, folders: Folders) -> None:
        """Raise a StepError for a teacher that *base* cannot be compared with."""
        assert folders.teacher is not None
        student, other = (model.tokenizer(folder).get_vocab() for folder in (folders.model, folders.teacher))
        if student != other:
            raise StepError(
                f"compression.distill.teacher: its vocabulary ({len(other)} tokens) differs from the "
                f"student's ({len(student)} tokens); choose a teacher of the same family"
            )
        if not task.generates and base.config.id2label != teacher.config.id2label:
            raise StepError(
                f"compression.distill.teacher: its classes ({', '.join(teacher.config.id2label.values())}) "
                f"differ from the student's ({', '.join(base.config.id2label.values())}); choose a teacher "
                "with the same classes"
            )
        if not self.hidden_weight:
            return
        if not task.pairs_layers:
            raise StepError(
                f"compression.distill.training.hidden_weight: not supported for the task {task.name}; set "
                "compression.distill.training.hidden_weight=0"
            )
        if base.config.hidden_size != teacher.config.hidden_size:
            raise StepError(
                f"compression.distill.training.hidden_weight: the teacher's hidden size is "
                f"{teacher.config.hidden_size}, the student's {base.config.hidden_size}; set "
                "compression.distill.training.hidden_weight=0"
            )
