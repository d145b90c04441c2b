"""Frozen weights in the precision that they are multiplied in. It knows no rows and no adapters' names."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module


def hold_frozen(model: "Module", precision: str) -> None:
    """Hold the frozen weights of *model*'s linear layers in 16 bits, in place, unless *precision* is fp32.

    Autocast rounds them to just that at each use, so that every product stays what it was, bit for bit,
    while they take half the memory and need no rounding any more. Left alone are weights that other
    modules read too, such as embeddings that are the head as well, and those that an adapter also
    reads as numbers, as DoRA does for its norms.
    """
    import torch

    if precision == "fp32":
        return
    kind = torch.bfloat16 if precision == "bf16" else torch.float16
    for linear in _multiplied_only(model):
        linear.weight.data = linear.weight.data.to(kind)
        if linear.bias is not None:
            linear.bias.data = linear.bias.data.to(kind)


def _multiplied_only(model: "Module") -> "list[Linear]":
    from torch.nn import Linear

    linears, others = [], set[int]()
    read = {id(module.base_layer) for module in model.modules() if _reads_base(module)}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        # A subclass may multiply in its own way, as bitsandbytes' four bits do.
        if type(module) is Linear and id(module) not in read and not any(p.requires_grad for p in own):
            linears.append(module)
        else:
            others |= {_place(weight) for weight in own}
    return [linear for linear in linears if _place(linear.weight) not in others]


def _place(weight: "Tensor") -> int:
    return weight.data_ptr()


def _reads_base(module: Any) -> bool:
    """Tell whether *module* is peft's layer around another whose weights it also reads itself."""
    if not hasattr(module, "base_layer"):
        return False
    return not hasattr(module, "lora_A") or any(getattr(module, "use_dora", {}).values())
