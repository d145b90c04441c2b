"""Checks that replicated weights are identical on all ranks.

Ranks silently diverge if a device computes wrong results, a bit flips, or a gradient is not exchanged.
From then on, each trains a different model.
"""

from collections import Counter, defaultdict
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from framework.core.errors import StepError

Sum = tuple[int, int]


class SameWeights(Callback):
    """Compare the replicated trained weights of all ranks, every few steps.

    Weights are compared by name: ranks with different layers are not compared with each other, and sharded
    weights are not compared at all.
    """

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps
        self._step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare after every ``every_steps``-th optimizer step.

        Raises:
            StepError: on every rank, naming the ranks that differ from the majority.
        """
        step = trainer.global_step
        if step == self._step or step % self.every_steps or trainer.world_size == 1:
            return
        self._step = step
        by_rank: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(by_rank, checksums(pl_module))
        if problem := difference(by_rank):
            raise StepError(
                f"tune: at step {step}, {problem}: a faulty device or memory; replace that machine, then "
                "rerun the same command to resume from the last checkpoint"
            )


def checksums(module: torch.nn.Module) -> dict[str, Sum]:
    """Return two checksums over the bits of each trained weight that this process has whole, by name.

    They are computed on the weight's device; only 16 bytes per weight are copied. Any single flipped bit
    changes the first checksum.
    """
    from torch.distributed.tensor import DTensor

    named = [
        (name, weight.detach())
        for name, weight in module.named_parameters()
        if weight.requires_grad and not isinstance(weight, DTensor) and weight.numel()
    ]
    if not named:
        return {}
    sums = []
    for _, weight in named:
        bits = weight.contiguous().view(
            torch.uint8 if weight.element_size() == 1 else _INTEGERS[weight.dtype]
        )
        wide = bits.flatten().to(torch.int64)
        sums.append(torch.stack([wide.sum(), (wide * wide).sum()]))
    pairs = torch.stack(sums).tolist()
    return {name: (first, second) for (name, _), (first, second) in zip(named, pairs, strict=True)}


_INTEGERS = {
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float64: torch.int64,
}


def difference(by_rank: list[dict[str, Sum]]) -> str:
    """Describe which ranks differ from the majority, given the checksums of each rank; "" if none does.

    >>> difference([{"a": (1, 2)}, {"a": (1, 2)}, {"a": (3, 4)}, {"b": (5, 6)}])
    "rank 2 has a different 'a' than the other 2"
    >>> difference([{"a": (1, 2)}, {"a": (3, 4)}])
    "ranks 0 and 1 have different values of 'a'"
    """
    by_name: dict[str, dict[int, Sum]] = defaultdict(dict)
    for rank, sums in enumerate(by_rank):
        for name, checksum in sums.items():
            by_name[name][rank] = checksum
    for name, holders in by_name.items():
        ((common, times), *others) = Counter(holders.values()).most_common()
        if not others:
            continue
        if times == others[0][1]:  # no majority
            return f"{_ranks(holders)} have different values of '{name}'"
        odd = [rank for rank, checksum in holders.items() if checksum != common]
        verb = "has" if len(odd) == 1 else "have"
        return f"{_ranks(odd)} {verb} a different '{name}' than the other {times}"
    return ""


def _ranks(numbers: Any) -> str:
    *first, last = map(str, numbers)
    return f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
