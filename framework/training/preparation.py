"""What is done to a tuned model before it is trained, whatever it is. It knows no rows."""

from typing import TYPE_CHECKING

from framework.core.errors import StepError
from framework.training import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: "PreTrainedModel", training: Training) -> None:
    """Let *model* compute activations again instead of keeping them, where asked.

    Raises:
        StepError: the architecture cannot.
    """
    if not training.gradient_checkpointing:
        return
    try:
        # Not the re-entrant kind, which loses gradients where, as below adapters, no input needs one.
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise StepError(
            "training.gradient_checkpointing: this architecture does not support it; set "
            "training.gradient_checkpointing=false and a smaller training.micro_batch_size"
        ) from error
