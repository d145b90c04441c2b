"""Distillation: train a smaller student on the outputs of a larger teacher."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import Compression, ModelCompression
from framework.build.compression.save_model import save_changed
from framework.build.compression.teacher_training import Distillation
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.task import open_task
from framework.build.tuning.architectures import stacks
from framework.core.errors import StepError
from framework.core.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Distill(ModelCompression):
    """Train a student on its teacher's outputs; see ``Distillation`` for the loss.

    The student is the current model (which an earlier compression may have pruned), with fewer layers if
    ``layers`` is set, or the model ``student``. The teacher is the tuned model before any compression, or the
    model ``teacher``.
    """

    label: ClassVar[str] = "distilled"

    layers: Annotated[int, Field(ge=1)] | None = None
    """Number of layers the student keeps, evenly spaced from first to last; None keeps all."""
    student: Model | None = None
    """Another model as the student, with the same vocabulary; None uses the current model."""
    teacher: Model | None = None
    """Another model as the teacher, already tuned for the same task; None uses the tuned model."""
    training: Distillation = Distillation()
    """How the student is trained, and the weights of its losses."""

    @model_validator(mode="after")
    def _choose_one(self) -> Self:
        if self.layers is not None and self.student is not None:
            raise PydanticCustomError(
                "two_students", "'layers' makes the student from the tuned model; 'student' should be null"
            )
        return self

    @property
    def reshapes(self) -> bool:
        """Whether the student differs from the current model."""
        return self.layers is not None or self.student is not None

    @property
    def teacher_model(self) -> Model | None:
        """Return ``teacher``."""
        return self.teacher

    def problems(self, model: Model, parallelism: Parallelism) -> list[Problem]:
        """Return models of another task, and layers of an encoder-decoder model; see the base class."""
        problems = super().problems(model, parallelism)
        for role, other in (("student", self.student), ("teacher", self.teacher)):
            if other is not None and other.task != model.task:
                reason = f"the task of {other.name} is {other.task}, the model's is {model.task}"
                problems.append(Problem(role, reason, (f"{role}=null",)))
        if self.layers is not None and open_task(model.task).has_decoder_stack:
            reason = "an encoder-decoder model has two stacks of layers"
            problems.append(Problem("layers", reason, ("layers=null",)))
        return problems

    def cautions(self, before: Sequence[Compression], after: Sequence[Compression]) -> list[Problem]:
        """Return a student that is its own teacher; see the base class."""
        if before or self.reshapes or self.teacher is not None:
            return []
        reason = "the student is its own teacher, so the model does not become smaller"
        return [Problem("layers", reason, ("layers=<number>", "compression=[prune-structured,distill]"))]

    def reshape(self, model: Model, folder: Path, data: Path, output: Path) -> None:
        """Write the student; see the base class."""
        if self.student is not None:
            self.student.materialize(output, seed=0)
            require_same_vocabulary(model, folder, output)
            # The student's chat template may differ, but prompts must look like those of the prepared rows.
            model.tokenizer(folder).save_pretrained(output)
            return
        opened = model.open(folder)
        if self.layers is not None:
            keep_layers(opened, self.layers)
        save_changed(opened, folder, output)


def require_same_vocabulary(model: Model, folder: Path, student: Path) -> None:
    """Check that *student* has the vocabulary of *folder*, which the rows were tokenized with.

    Raises:
        StepError: the vocabularies differ.
    """
    tuned, other = (model.tokenizer(path).get_vocab() for path in (folder, student))
    if tuned != other:
        raise StepError(
            f"compression.distill.student: its vocabulary ({len(other)} tokens) differs from the tuned "
            f"model's ({len(tuned)} tokens); choose a student of the same family"
        )


def keep_layers(model: "PreTrainedModel", count: int) -> None:
    """Remove all but *count* evenly spaced layers of *model*, in place; the first and the last stay.

    Raises:
        StepError: the model has more than one stack of layers, none, or too few layers.
    """
    from torch.nn import ModuleList

    lengths = stacks(model)
    if len(lengths) != 1:
        raise StepError(
            f"compression.distill.layers: {type(model).__name__} has {len(lengths)} stacks of layers, not "
            "one; set compression.distill.layers=null, and compression.distill.student to a smaller model"
        )
    ((path, length),) = lengths.items()
    if count > length:
        raise StepError(
            f"compression.distill.layers: the model has {length} layers, not {count}; "
            f"set compression.distill.layers={max(1, length // 2)}"
        )
    kept = evenly_spaced(count, length)
    layers: Any = model.get_submodule(path)
    model.set_submodule(path, ModuleList([layers[index] for index in kept]))
    config = model.config
    for name, value in config.to_dict().items():
        if "layer" in name and isinstance(value, list) and len(value) == length:  # such as layer_types
            setattr(config, name, [value[index] for index in kept])
    config.num_hidden_layers = count


def evenly_spaced(count: int, length: int) -> list[int]:
    """Return *count* evenly spaced indices below *length*, from the first to the last.

    >>> evenly_spaced(2, 12), evenly_spaced(3, 6), evenly_spaced(4, 4), evenly_spaced(1, 5)
    ([0, 11], [0, 2, 5], [0, 1, 2, 3], [0])
    """
    return [round(index * (length - 1) / max(count - 1, 1)) for index in range(count)]
