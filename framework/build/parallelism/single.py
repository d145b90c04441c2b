"""One process on one device."""

from typing import Any, ClassVar

from framework.build.parallelism import Device, Parallelism
from framework.core.errors import StepError


class Single(Parallelism):
    """No parallelism: one process on the first device of the environment's kind."""

    launched: ClassVar[bool] = False

    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Request one device; see the base class."""
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise StepError(
                "environment.hardware.device=cuda, but torch finds no CUDA device on this machine; "
                "run on a machine with a GPU, or set environment.hardware.device=cpu"
            )
        return {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1, "num_nodes": 1}
