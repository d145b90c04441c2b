"""Converts between sharded tensors (torch's DTensor) and whole ones, and computes gradient norms over shards.

Every layout writes checkpoints with whole tensors, in the format of a single process's optimizer. So each
layout can resume from the checkpoints of any other.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

_LAYOUT_SETTINGS = ("fused", "foreach", "capturable", "differentiable")
"""Optimizer settings that come from the layout, not from the checkpoint."""


def unshard(tensor: Any) -> Any:
    """Return *tensor* unsharded, on the CPU; every process of its mesh must call this."""
    full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu()


def whole_state(named: "Iterable[tuple[str, Tensor]]", keep: bool) -> "dict[str, Tensor]":
    """Return the whole *named* tensors if *keep* is set, else {}.

    Every process must call this with the same order. Names that share a tensor, such as tied embeddings,
    still share it.
    """
    seen: dict[int, Any] = {}
    state = {}
    for name, tensor in named:
        if id(tensor) not in seen:
            full = unshard(tensor)
            seen[id(tensor)] = full if keep else None
        if keep:
            state[name] = seen[id(tensor)]
    return state


def shard_like(full: "Tensor", pattern: Any) -> Any:
    """Return *full* sharded like *pattern*, which has the same unsharded shape."""
    if not hasattr(pattern, "full_tensor"):
        return full.to(pattern.device)
    from torch.distributed.tensor import distribute_tensor

    device = pattern.to_local().device
    # Without a source rank nothing is sent: every process has read the same file.
    return distribute_tensor(full.to(device), pattern.device_mesh, pattern.placements, src_data_rank=None)


def load_weights(model: Any, state: "Mapping[str, Tensor]") -> None:
    """Copy whole tensors into the weights and buffers of *model* with the same names."""
    import torch

    mine = dict(model.state_dict())
    with torch.no_grad():
        for name, full in state.items():
            if name in mine:
                mine[name].copy_(shard_like(full, mine[name]))


def optimizer_state(optimizer: "Optimizer", keep: bool) -> dict[str, Any]:
    """Return ``optimizer.state_dict()`` as in a single process; every process must call this.

    Only processes with *keep* get the tensors.
    """
    state = optimizer.state_dict()
    by_number = {}
    for number, values in state["state"].items():
        full = {name: unshard(value) if hasattr(value, "cpu") else value for name, value in values.items()}
        if keep:
            by_number[number] = full
    return {"state": by_number, "param_groups": state["param_groups"]}


def load_optimizer(optimizer: "Optimizer", state: "Mapping[str, Any]") -> None:
    """Load the result of ``optimizer_state`` into *optimizer*, sharded like its weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    settings = [
        {name: group[name] for name in _LAYOUT_SETTINGS if name in group} for group in optimizer.param_groups
    ]
    sharded = {
        number: {
            name: shard_like(value, weights[number])
            if getattr(value, "shape", None) == weights[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": sharded, "param_groups": state["param_groups"]})
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def gradient_norm(weights: "Iterable[Tensor]") -> "Tensor":
    """Return the total norm of all gradients, a scalar that is equal in every process.

    Sums squares on each process first, then over each group of processes with different shards of the
    same tensors.
    """
    import torch
    from torch.distributed import all_reduce
    from torch.distributed.tensor import Replicate

    sums: dict[Any, Any] = {}
    for weight in weights:
        gradient: Any = weight.grad
        if gradient is None:
            continue
        groups: tuple[Any, ...] = ()
        if hasattr(gradient, "full_tensor"):
            placements = enumerate(gradient.placements)
            sharded = [dim for dim, placement in placements if not isinstance(placement, Replicate)]
            groups = tuple(gradient.device_mesh.get_group(dim) for dim in sharded)
            gradient = gradient.to_local()
        sums[groups] = sums.get(groups, 0.0) + torch.linalg.vector_norm(gradient.float()) ** 2
    total = torch.zeros(())
    for groups, square in sums.items():
        for group in groups:
            all_reduce(square, group=group)
        total = total.to(square.device) + square
    return total.sqrt()


def scale_gradients(weights: "Iterable[Tensor]", factor: "Tensor") -> None:
    """Multiply every gradient by *factor*, a scalar."""
    for weight in weights:
        gradient: Any = weight.grad
        if gradient is not None:
            local = gradient.to_local() if hasattr(gradient, "full_tensor") else gradient
            local.mul_(factor.to(local.device))
