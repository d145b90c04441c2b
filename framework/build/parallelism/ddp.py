"""Distributed data parallelism (DDP): every process has the whole model and its own rows."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.parallelism import Device
from framework.build.parallelism.distributed import Distributed


class DDP(Distributed):
    """torch's DDP (Li et al., 2020, arXiv:2006.15704): gradients are averaged during the backward pass."""

    size_key: ClassVar[str] = "parallelism.replicas"

    replicas: Annotated[int, Field(ge=1)] = 2
    """Processes, each with the whole model and, on GPUs, a GPU of its own."""
    compression: Literal["none", "fp16", "bf16", "powersgd"] = "none"
    """Compression of gradients on slow networks: ``fp16`` and ``bf16`` cast them, ``powersgd`` sends a
    low-rank approximation with error feedback (Vogels et al., 2019, arXiv:1905.13727). Only ``none``
    trains exactly like a single process."""
    powersgd_rank: Annotated[int, Field(ge=1, le=128)] = 4
    """Rank of PowerSGD's approximation: a higher rank is more accurate and slower."""
    powersgd_start_step: Annotated[int, Field(ge=2)] = 10
    """Steps without compression before PowerSGD starts, because early gradients compress badly."""

    @property
    def processes(self) -> int:
        """One per replica."""
        return self.replicas

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return Lightning's DDP strategy."""
        from framework.build.parallelism.ddp_strategy import CompressedDDP

        return CompressedDDP(self.compression, self.powersgd_rank, self.powersgd_start_step)
