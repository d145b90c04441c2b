"""Cross entropy of a language model's head without ever holding all of its logits.

Logits are the largest tensor of a step: tokens times vocabulary, three times in float32. Here the head
is applied to a few tokens at a time, and their gradient is taken at once, while the logits are still in
the cache (as Wijmans et al., 2024, arXiv:2411.09009, do on a GPU). Loss and gradients are those of the plain
way. It knows no rows and no labels that carry no loss.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear

_LOGITS = {"cpu": 2**21, "cuda": 2**26}
"""Logits at a time: what fits a CPU's cache, and what keeps a GPU busy."""


def separable_head(model: Any) -> "Linear | None":
    """Return the linear layer that is all that *model* does to its last hidden states, or None.

    None too where another scales the logits, where fp16 would lose gradients that are taken before the
    loss is scaled, or where the weights are spread over processes.
    """
    import torch

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    scaled = any(
        getattr(model.config, name, None) not in (None, 1, 1.0)
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    )
    if type(head) is not torch.nn.Linear or type(head.weight) is not torch.nn.Parameter or scaled:
        return None
    kind = head.weight.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return None if half or hasattr(head.weight, "ds_id") or not head.weight.numel() else head


@contextlib.contextmanager
def without_head(head: "Linear") -> Iterator[None]:
    """Let a model return what it would have given to *head* as its logits."""
    head.__dict__["forward"] = lambda hidden: hidden
    try:
        yield
    finally:
        del head.__dict__["forward"]


Judge = Callable[[slice, "Tensor"], "tuple[Tensor, Tensor]"]
"""Takes places and their float32 logits, (places, vocabulary), which it may overwrite; returns the summed
loss and its gradient at the logits."""


def summed_cross_entropy(hidden: "Tensor", head: "Linear", wanted: "Tensor") -> "Tensor":
    """Return the sum of the cross entropies of *head*'s logits.

    Args:
        hidden: (places, width), float.
        head: from width to vocabulary.
        wanted: (places,), int64, the right token at each place.

    Returns:
        A float32 scalar.
    """
    import torch

    def judge(places: slice, logits: "Tensor") -> "tuple[Tensor, Tensor]":
        labels = wanted[places, None]
        total = logits.logsumexp(1, keepdim=True)
        loss = (total - logits.gather(1, labels)).sum()
        shares = logits.sub_(total).exp_()
        return loss, shares.scatter_add_(1, labels, -torch.ones_like(total))

    return summed_by_place(hidden, head, judge)


def summed_by_place(hidden: "Tensor", head: "Linear", judge: Judge) -> "Tensor":
    """Return the sum of what *judge* finds at *head*'s logits, a float32 scalar; see above."""
    import torch

    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    tied: Any = _function()
    found: Tensor = tied.apply(hidden, head.weight, head.bias, judge, dtype, _LOGITS.get(kind, 2**24))
    return found


def _function() -> Any:
    """Return the autograd function, made where torch is loaded already."""
    import torch

    class Summed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, judge: Any, dtype: Any, most: int) -> Any:
            ctx.kinds = [None if each is None else each.dtype for each in (hidden, weight, bias)]
            need = ctx.needs_input_grad[:3]
            with torch.autocast(hidden.device.type, enabled=False):
                loss, *gradients = _summed(hidden.to(dtype), weight.to(dtype), bias, judge, most, need)
            ctx.save_for_backward(*gradients)
            return loss

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            found = [
                None if gradient is None else (gradient * grads[0]).to(kind)
                for gradient, kind in zip(ctx.saved_tensors, ctx.kinds, strict=True)
            ]
            return (*found, None, None, None)

    return Summed


def _summed(hidden: Any, weight: Any, bias: Any, judge: Judge, most: int, need: Any) -> tuple[Any, ...]:
    """Return loss and the gradients that are needed: of hidden states, of weight and of bias."""
    import torch

    loss = hidden.new_zeros((), dtype=torch.float32)
    of_hidden = torch.empty_like(hidden) if need[0] else None
    of_weight = torch.zeros_like(weight, dtype=torch.float32) if need[1] else None
    of_bias = torch.zeros_like(bias, dtype=torch.float32) if need[2] else None
    size = max(most // len(weight), 16)
    for start in range(0, len(hidden), size):
        places = slice(start, start + size)
        part = hidden[places]
        logits = torch.nn.functional.linear(part, weight, None if bias is None else bias.to(part.dtype))
        found, shares = judge(places, logits.float())
        loss += found
        if of_bias is not None:
            of_bias += shares.sum(0)
        shares = shares.to(part.dtype)
        if of_hidden is not None:
            torch.mm(shares, weight, out=of_hidden[places])
        if of_weight is not None:
            of_weight += shares.T @ part
    return loss, of_hidden, of_weight, of_bias
