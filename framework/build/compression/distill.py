"""Distillation: what a large model knows goes into a smaller one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import Compression, ModelCompression
from framework.build.compression.save_model import write_changed
from framework.build.compression.teacher_training import Distillation
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.tuning.architectures import stacks
from framework.core.errors import StepError
from framework.core.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Distill(ModelCompression):
    """Train a student by its teacher's answers; see ``Distillation`` for the loss.

    The student is the model as it comes in, perhaps pruned, with fewer layers where ``layers`` says so; or
    another one. The teacher is the tuned model as it was before all compression, or another one.
    """

    label: ClassVar[str] = "distilled"

    layers: Annotated[int, Field(ge=1)] | None = None
    """Layers that the student keeps, evenly spaced from the first to the last; None keeps all."""
    student: Model | None = None
    """Another model to be the student, of the same vocabulary; None takes the one that comes in."""
    teacher: Model | None = None
    """Another model to be the teacher, tuned already for the same task; None takes the tuned one."""
    training: Distillation = Distillation()
    """How the student is trained, and how its losses are weighed."""

    @model_validator(mode="after")
    def _choose_one(self) -> Self:
        if self.layers is not None and self.student is not None:
            raise PydanticCustomError(
                "two_students", "'layers' makes a student of the tuned model, so 'student' should be null"
            )
        return self

    @property
    def reshapes(self) -> bool:
        """Whether the student is another than what comes in."""
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
        if self.layers is not None and model.task == "seq2seq":
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
            self.student.materialise(output, seed=0)
            refuse_other_words(model, folder, output)
            # Its own template may be another, but prompts must be put as the rows were.
            model.tokenizer(folder).save_pretrained(output)
            return
        opened = model.open(folder)
        if self.layers is not None:
            keep_layers(opened, self.layers)
        write_changed(opened, folder, output)


def refuse_other_words(model: Model, folder: Path, student: Path) -> None:
    """Raise ``StepError`` if *student* has another tokenizer than *folder*: rows are prepared already."""
    one, other = (model.tokenizer(each).get_vocab() for each in (folder, student))
    if one != other:
        raise StepError(
            f"compression.distill.student: has another vocabulary ({len(other)} tokens) than the tuned model "
            f"({len(one)}), whose tokens the rows are; choose a student of the same family"
        )


def keep_layers(model: "PreTrainedModel", count: int) -> None:
    """Leave *count* of *model*'s layers, evenly spaced, the first and the last among them, in place.

    Raises:
        StepError: there is not one stack of layers, or it has fewer.
    """
    from torch.nn import ModuleList

    found = stacks(model)
    if len(found) != 1:
        raise StepError(
            f"compression.distill.layers: {type(model).__name__} has {len(found)} stacks of layers, not one; "
            "set compression.distill.layers=null, and compression.distill.student to a smaller model"
        )
    ((path, length),) = found.items()
    if count > length:
        raise StepError(
            f"compression.distill.layers: the model has {length} layers, not {count}; "
            f"set compression.distill.layers={max(1, length // 2)}"
        )
    kept = evenly(count, length)
    layers: Any = model.get_submodule(path)
    model.set_submodule(path, ModuleList([layers[place] for place in kept]))
    config = model.config
    for name, value in config.to_dict().items():
        if "layer" in name and isinstance(value, list) and len(value) == length:  # such as layer_types
            setattr(config, name, [value[place] for place in kept])
    config.num_hidden_layers = count


def evenly(count: int, length: int) -> list[int]:
    """Return *count* of the numbers below *length*, as far apart as can be.

    >>> evenly(2, 12), evenly(3, 6), evenly(4, 4), evenly(1, 5)
    ([0, 11], [0, 2, 5], [0, 1, 2, 3], [0])
    """
    return [round(place * (length - 1) / max(count - 1, 1)) for place in range(count)]
