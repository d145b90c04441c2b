"""Distributed data parallelism: every process has the whole model and rows of its own."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.parallelism import Device
from framework.build.parallelism.distributed import Distributed


class DDP(Distributed):
    """DDP (Li et al., 2020, arXiv:2006.15704), through torch: gradients are averaged while they are made."""

    size_key: ClassVar[str] = "parallelism.replicas"

    replicas: Annotated[int, Field(ge=1)] = 2
    """Processes, each with the whole model; a GPU each, where there are GPUs."""
    compression: Literal["none", "fp16", "bf16", "powersgd"] = "none"
    """How gradients travel: as they are, halved in precision, or as a low-rank approximation whose error
    is made good in later steps (PowerSGD: Vogels et al., 2019, arXiv:1905.13727). For slow networks; only
    ``none`` gives the gradients of one process."""
    powersgd_rank: Annotated[int, Field(ge=1, le=128)] = 4
    """Rank of PowerSGD's approximation: more is truer and slower."""
    powersgd_start_step: Annotated[int, Field(ge=2)] = 10
    """Steps that are sent whole before PowerSGD begins, since early gradients are compressed worst."""

    @property
    def processes(self) -> int:
        """As many as there are replicas."""
        return self.replicas

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return Lightning's DDP strategy."""
        from framework.build.parallelism.ddp_strategy import CompressedDDP

        return CompressedDDP(self.compression, self.powersgd_rank, self.powersgd_start_step)
