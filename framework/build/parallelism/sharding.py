"""Tensors that are spread over processes (torch's DTensor), and what they are when whole.

A checkpoint holds whole tensors, whatever the layout that wrote it, in the form of an optimiser that
never heard of layouts. So each layout resumes what any other has written.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

_OURS = ("fused", "foreach", "capturable", "differentiable")
"""Settings of an optimiser that the layout decides, and not the checkpoint."""


def whole(tensor: Any) -> Any:
    """Return *tensor* as it is without any layout, on the CPU; every process of its mesh must ask."""
    full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu()


def whole_state(named: "Iterable[tuple[str, Tensor]]", keep: bool) -> "dict[str, Tensor]":
    """Return *named* tensors whole where *keep* is set; every process must ask, and in the same order.

    Names that share a tensor, as tied embeddings do, still share it.
    """
    seen: dict[int, Any] = {}
    found = {}
    for name, tensor in named:
        if id(tensor) not in seen:
            full = whole(tensor)
            seen[id(tensor)] = full if keep else None
        if keep:
            found[name] = seen[id(tensor)]
    return found


def like(full: "Tensor", pattern: Any) -> Any:
    """Return *full* spread as *pattern* is, which has the same whole shape."""
    if not hasattr(pattern, "full_tensor"):
        return full.to(pattern.device)
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same file, so that nothing needs to travel.
    place = pattern.to_local().device
    spread = distribute_tensor(full.to(place), pattern.device_mesh, pattern.placements, src_data_rank=None)
    return spread


def load_weights(model: Any, state: "Mapping[str, Tensor]") -> None:
    """Copy whole tensors into the weights and buffers of *model* that have their names."""
    import torch

    mine = dict(model.state_dict())
    with torch.no_grad():
        for name, full in state.items():
            if name in mine:
                mine[name].copy_(like(full, mine[name]))


def optimizer_state(optimizer: "Optimizer", keep: bool) -> dict[str, Any]:
    """Return what ``optimizer.state_dict()`` would be in one process; every process must ask."""
    state = optimizer.state_dict()
    found = {}
    for number, parts in state["state"].items():
        full = {name: whole(part) if hasattr(part, "cpu") else part for name, part in parts.items()}
        if keep:
            found[number] = full
    return {"state": found, "param_groups": state["param_groups"]}


def load_optimizer(optimizer: "Optimizer", state: "Mapping[str, Any]") -> None:
    """Give *optimizer* what ``optimizer_state`` returned, spread as its own weights are."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    settings = [{name: group[name] for name in _OURS if name in group} for group in optimizer.param_groups]
    spread = {
        number: {
            name: like(part, weights[number])
            if getattr(part, "shape", None) == weights[number].shape
            else part
            for name, part in parts.items()
        }
        for number, parts in state["state"].items()
    }
    optimizer.load_state_dict({"state": spread, "param_groups": state["param_groups"]})
    for group, ours in zip(optimizer.param_groups, settings, strict=True):
        group.update(ours)


def gradient_norm(weights: "Iterable[Tensor]") -> "Tensor":
    """Return the norm of all gradients together, a scalar that is the same in every process.

    Squares are summed where the parts lie, and then once over each group of processes that hold
    different parts of the same tensors.
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
            cut = [dim for dim, how in enumerate(gradient.placements) if not isinstance(how, Replicate)]
            groups = tuple(gradient.device_mesh.get_group(dim) for dim in cut)
            gradient = gradient.to_local()
        sums[groups] = sums.get(groups, 0.0) + torch.linalg.vector_norm(gradient.float()) ** 2
    total = torch.zeros(())
    for groups, part in sums.items():
        for group in groups:
            all_reduce(part, group=group)
        total = total.to(part.device) + part
    return total.sqrt()


def scale_gradients(weights: "Iterable[Tensor]", factor: "Tensor") -> None:
    """Multiply every gradient by *factor*, a scalar."""
    for weight in weights:
        gradient: Any = weight.grad
        if gradient is not None:
            local = gradient.to_local() if hasattr(gradient, "full_tensor") else gradient
            local.mul_(factor.to(local.device))
