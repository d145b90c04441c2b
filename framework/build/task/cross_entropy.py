"""Cross entropy of a language model's head, computed in chunks so that the logits never exist in full.

Logits are the largest tensor of a step: tokens times vocabulary, three times in float32. Here the head
is applied to a few tokens at a time. Their gradient is computed at once, while the logits are still in
the cache (as Wijmans et al., 2024, arXiv:2411.09009, do on a GPU). Loss and gradients equal those of the
direct computation. It knows neither rows nor masked labels.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear

_LOGITS = {"cpu": 2**21, "cuda": 2**26}
"""Logits per chunk: few enough for a CPU's cache, many enough to keep a GPU busy."""


def separable_head(model: Any) -> "Linear | None":
    """Return *model*'s output layer, if it alone maps the last hidden states to logits; else None.

    None too where the logits are scaled, where the weights are sharded over processes, or in fp16, whose
    gradients would underflow before the loss is scaled.
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
    """Make a model return the inputs of *head* in place of its logits."""
    head.__dict__["forward"] = lambda hidden: hidden
    try:
        yield
    finally:
        del head.__dict__["forward"]


ChunkLoss = Callable[[slice, "Tensor"], "tuple[Tensor, Tensor]"]
"""Takes positions and their float32 logits (positions, vocabulary), which it may overwrite. Returns the
summed loss and its gradient with respect to the logits."""


def summed_cross_entropy(hidden: "Tensor", head: "Linear", targets: "Tensor") -> "Tensor":
    """Return the summed cross entropy of *head*'s logits.

    Args:
        hidden: (positions, width), float.
        head: from width to vocabulary.
        targets: (positions,), int64, the target token at each position.

    Returns:
        A float32 scalar.
    """
    import torch

    def chunk_loss(positions: slice, logits: "Tensor") -> "tuple[Tensor, Tensor]":
        labels = targets[positions, None]
        total = logits.logsumexp(1, keepdim=True)
        loss = (total - logits.gather(1, labels)).sum()
        probabilities = logits.sub_(total).exp_()
        return loss, probabilities.scatter_add_(1, labels, -torch.ones_like(total))

    return summed_in_chunks(hidden, head, chunk_loss)


def summed_in_chunks(hidden: "Tensor", head: "Linear", chunk_loss: ChunkLoss) -> "Tensor":
    """Return the sum of *chunk_loss* over *head*'s logits, a float32 scalar, with its gradients.

    Args:
        hidden: (positions, width), float.
        head: from width to vocabulary.
        chunk_loss: called once for each chunk of positions.
    """
    import torch

    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    function: Any = _function()
    chunk_size = _LOGITS.get(kind, 2**24)
    loss: Tensor = function.apply(hidden, head.weight, head.bias, chunk_loss, dtype, chunk_size)
    return loss


def _function() -> Any:
    """Return the autograd function; defined here, since torch is imported only when needed."""
    import torch

    class Summed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, loss: Any, dtype: Any, size: int) -> Any:
            ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden, weight, bias)]
            needed = ctx.needs_input_grad[:3]
            with torch.autocast(hidden.device.type, enabled=False):
                total, *gradients = _summed(hidden.to(dtype), weight.to(dtype), bias, loss, size, needed)
            ctx.save_for_backward(*gradients)
            return total

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            scaled = [
                None if gradient is None else (gradient * grads[0]).to(dtype)
                for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
            ]
            return (*scaled, None, None, None)

    return Summed


def _summed(
    hidden: Any, weight: Any, bias: Any, chunk_loss: ChunkLoss, logits_per_chunk: int, needed: Any
) -> tuple[Any, ...]:
    """Return the loss and the *needed* gradients of hidden states, weight and bias."""
    import torch

    loss = hidden.new_zeros((), dtype=torch.float32)
    of_hidden = torch.empty_like(hidden) if needed[0] else None
    of_weight = torch.zeros_like(weight, dtype=torch.float32) if needed[1] else None
    of_bias = torch.zeros_like(bias, dtype=torch.float32) if needed[2] else None
    size = max(logits_per_chunk // len(weight), 16)
    for start in range(0, len(hidden), size):
        positions = slice(start, start + size)
        chunk = hidden[positions]
        logits = torch.nn.functional.linear(chunk, weight, None if bias is None else bias.to(chunk.dtype))
        of_chunk, gradient = chunk_loss(positions, logits.float())
        loss += of_chunk
        if of_bias is not None:
            of_bias += gradient.sum(0)
        gradient = gradient.to(chunk.dtype)
        if of_hidden is not None:
            torch.mm(gradient, weight, out=of_hidden[positions])
        if of_weight is not None:
            of_weight += gradient.T @ chunk
    return loss, of_hidden, of_weight, of_bias
