"""Lightning's DDP strategy with gradient compression, on CPUs and GPUs."""

from functools import partial
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel


class CompressedDDP(DDPStrategy):
    """DDP with the gradient compression *compression*."""

    def __init__(self, compression: str, rank: int, start_step: int) -> None:
        super().__init__(gradient_as_bucket_view=compression != "powersgd")
        self._compression = compression
        self._powersgd: Any = partial(
            powerSGD_hook.PowerSGDState,
            process_group=None,
            matrix_approximation_rank=rank,
            start_powerSGD_iter=start_step,
        )

    def _register_ddp_hooks(self) -> None:
        """Register the communication hook; Lightning registers none on the CPU."""
        model = self.model
        if not isinstance(model, DistributedDataParallel):
            return
        if self._compression == "fp16":
            model.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif self._compression == "bf16":
            model.register_comm_hook(None, default_hooks.bf16_compress_hook)
        elif self._compression == "powersgd":
            model.register_comm_hook(self._powersgd(), powerSGD_hook.powerSGD_hook)
