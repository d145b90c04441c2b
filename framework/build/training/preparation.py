"""What is done to a tuned model before it is trained, whatever it is. It knows no rows."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.training import Training
from framework.core.errors import StepError
from framework.core.step import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: "PreTrainedModel", training: Training, scratch: Path) -> None:
    """Let *model* compute activations again instead of keeping them, and compile its layers, where asked.

    Args:
        model: as the tuning method made it.
        training: says what is asked.
        scratch: the step's folder below ``<store>/scratch``; what compiling makes is kept in the store.

    Raises:
        StepError: the architecture or this machine cannot.
    """
    if training.gradient_checkpointing:
        try:
            # Not the re-entrant kind, which loses gradients where, as below adapters, no input needs one.
            model.activation_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise StepError(
                "training.gradient_checkpointing: this architecture does not support it; set "
                "training.gradient_checkpointing=false and a smaller training.micro_batch_size"
            ) from error
    if training.compile:
        _compile_layers(model, Workspace(scratch).cache / "inductor")


def _compile_layers(model: "PreTrainedModel", cache: Path) -> None:
    """Compile the repeated layers of *model* in place: one graph serves all of them, names stay.

    Shapes are symbols from the start, so that rows of other lengths compile nothing again.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise StepError(
            "training.compile: the layers of this architecture are not known; set training.compile=false"
        )
    if not any(shutil.which(os.environ.get("CXX", name)) for name in ("g++", "clang++")):
        raise StepError(
            "training.compile: there is no C++ compiler on this machine; install g++, or set "
            "training.compile=false"
        )
    # Importing torch's compiler has set it to a folder for all users of the machine.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.resolve())
    for layer in layers:
        layer.compile(dynamic=True)
