"""A check that every rank still holds the weights that it should share with others.

Ranks drift apart without a sound when a device computes wrongly, a bit flips, or a gradient was not
exchanged; from then on each trains a model of its own.
"""

from collections import Counter, defaultdict
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from framework.core.errors import StepError

Sum = tuple[int, int]


class SameWeights(Callback):
    """Compare the trained weights that several ranks have whole, every few steps.

    Weights are known by their names: ranks that hold other layers are not compared with each other, and
    weights of which every rank has only its own part are not compared at all.
    """

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps
        self._step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare after every ``every_steps``-th optimiser step.

        Raises:
            StepError: on every rank, naming those whose weights are not those of most.
        """
        step = trainer.global_step
        if step == self._step or step % self.every_steps or trainer.world_size == 1:
            return
        self._step = step
        everyones: list[Any] = [None] * trainer.world_size
        dist.all_gather_object(everyones, checksums(pl_module))
        if said := difference(everyones):
            raise StepError(
                f"tune: at step {step} {said}: a device that computes wrongly, or memory that flips bits; "
                "leave that machine out, and the same command goes on from the last checkpoint"
            )


def checksums(module: torch.nn.Module) -> dict[str, Sum]:
    """Return two sums over the bits of each trained weight of *module* that this process has whole.

    They are formed where the weight is, and 16 bytes of each are brought here. Any one flipped bit
    changes the first.
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
    found = torch.stack(sums).tolist()
    return {name: (first, second) for (name, _), (first, second) in zip(named, found, strict=True)}


_INTEGERS = {
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float64: torch.int64,
}


def difference(everyones: list[dict[str, Sum]]) -> str:
    """Say which ranks differ from most others, given the checksums of each; "" is none.

    >>> difference([{"a": (1, 2)}, {"a": (1, 2)}, {"a": (3, 4)}, {"b": (5, 6)}])
    "rank 2 holds another 'a' than the other 2"
    >>> difference([{"a": (1, 2)}, {"a": (3, 4)}])
    "ranks 0 and 1 hold each another 'a'"
    """
    holders: dict[str, dict[int, Sum]] = defaultdict(dict)
    for rank, sums in enumerate(everyones):
        for name, found in sums.items():
            holders[name][rank] = found
    for name, by_rank in holders.items():
        ((common, times), *others) = Counter(by_rank.values()).most_common()
        if not others:
            continue
        if times == others[0][1]:  # no side is the larger one
            return f"{_ranks(by_rank)} hold each another '{name}'"
        odd = [rank for rank, found in by_rank.items() if found != common]
        return f"{_ranks(odd)} {'holds' if len(odd) == 1 else 'hold'} another '{name}' than the other {times}"
    return ""


def _ranks(numbers: Any) -> str:
    *first, last = map(str, numbers)
    return f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
