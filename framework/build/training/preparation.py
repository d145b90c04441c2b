"""Prepares a tuned model for training: gradient checkpointing and compiled layers."""

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
    """Enable gradient checkpointing and compile the layers of *model*, as *training* says.

    Args:
        model: what the tuning method returned.
        training: the options.
        scratch: the step's folder below ``<store>/scratch``; compiled code is cached in the store.

    Raises:
        StepError: the architecture or this machine does not support it.
    """
    if training.gradient_checkpointing:
        try:
            # Reentrant checkpointing loses gradients if no input needs one, as with adapters.
            model.activation_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise StepError(
                "training.gradient_checkpointing: not supported by this architecture; set "
                "training.gradient_checkpointing=false and a smaller training.micro_batch_size"
            ) from error
    if training.compile:
        _compile_layers(model, Workspace(scratch).cache / "inductor")


def _compile_layers(model: "PreTrainedModel", cache: Path) -> None:
    """Compile the repeated layers of *model* in place: one graph for all of them, with unchanged names.

    Shapes are dynamic from the start, so rows of other lengths trigger no recompilation.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise StepError("training.compile: not supported by this architecture; set training.compile=false")
    if not any(shutil.which(os.environ.get("CXX", name)) for name in ("g++", "clang++")):
        raise StepError("training.compile: no C++ compiler found; install g++, or set training.compile=false")
    # Importing torch's compiler has set this to a folder that all users of the machine share.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.resolve())
    for layer in layers:
        layer.compile(dynamic=True)
