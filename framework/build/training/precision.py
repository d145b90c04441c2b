"""The precision of products: frozen weights are stored in it, and a CPU that only emulates it is named."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Linear, Module


def cast_frozen(model: "Module", precision: str) -> None:
    """Cast the frozen weights of *model*'s linear layers to 16 bits, in place, unless *precision* is fp32.

    Autocast rounds them to the same values at each use. So every product stays bit-identical, with half
    the memory and without the repeated rounding. Weights that other modules also read stay float32, such
    as embeddings tied to the head. So do weights whose values an adapter reads, as DoRA does for its norms.
    """
    import torch

    if precision == "fp32":
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    for linear in _multiplied_only(model):
        linear.weight.data = linear.weight.data.to(dtype)
        if linear.bias is not None:
            linear.bias.data = linear.bias.data.to(dtype)


def name_emulation(device: str, precision: str) -> None:
    """Print a warning if the CPU has no instructions for *precision*.

    torch then computes bf16 products one by one: 1.2 GFLOP/s where fp32 reached 31.7, on a CPU with AVX2 only
    (512x576 by 576x1536, two threads). CPUs with AVX-512 but without its bf16 part were not measured.
    """
    import torch

    if (device, precision) == ("cpu", "bf16") and torch.backends.cpu.get_cpu_capability() == "AVX2":
        print(
            "  warning: this CPU has no bf16 instructions and emulates them, many times slower than fp32; "
            "set training.precision=fp32",
            flush=True,
        )


def _multiplied_only(model: "Module") -> "list[Linear]":
    """Return the frozen linear layers whose weights are used in no other way."""
    from torch.nn import Linear

    linears, others = [], set[int]()
    read = {id(module.base_layer) for module in model.modules() if _reads_base(module)}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        # A subclass may multiply differently, as bitsandbytes' 4-bit layers do.
        if type(module) is Linear and id(module) not in read and not any(p.requires_grad for p in own):
            linears.append(module)
        else:
            others |= {weight.data_ptr() for weight in own}
    return [linear for linear in linears if linear.weight.data_ptr() not in others]


def _reads_base(module: Any) -> bool:
    """Return whether *module* is a peft layer that reads the weights of its base layer."""
    if not hasattr(module, "base_layer"):
        return False
    return not hasattr(module, "lora_A") or any(getattr(module, "use_dora", {}).values())
