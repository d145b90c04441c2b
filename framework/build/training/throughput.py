"""Throughput, memory and GPU utilization of training, and how they are displayed."""

from typing import Any

_PEAKS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "GH200": 989.4e12,
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}
"""Peak dense 16-bit FLOP/s with 32-bit accumulation, from NVIDIA's data sheets, by words of the GPU's name.
The more specific name comes first."""


def peak_flops(name: str) -> float | None:
    """Return a GPU's peak 16-bit FLOP/s; None if unknown.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA L40S"), peak_flops("GeForce GT 710")
    (989400000000000.0, 362000000000000.0, None)
    """
    words = name.replace("-", " ").split()
    return next((peak for key, peak in _PEAKS.items() if set(key.split()) <= set(words)), None)


def flops_per_token(model: Any) -> float:
    """Return the FLOPs of training per token: 4N, plus 2 for each trained weight.

    That is 6N for full fine-tuning and about 4N for an adapter: 2N forward, 2N for the gradients of the
    activations, 2 per trained weight for its gradient (Kaplan et al., 2020, arXiv:2001.08361, appendix B).
    N excludes embeddings that are only looked up. Attention's own products and recomputed activations
    (``gradient_checkpointing``) do not count, as is usual for model FLOPs utilization (MFU).
    """
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings()
    tied = head is not None and getattr(head, "weight", None) is getattr(embeddings, "weight", 0)
    looked_up = set() if tied else {id(p) for p in embeddings.parameters()}
    used = [p for p in model.parameters() if id(p) not in looked_up]
    trained = sum(p.numel() for p in used if p.requires_grad)
    return float(4.0 * sum(_count(p) for p in used) + 2.0 * trained)


def _count(weight: Any) -> int:
    """Return how many weights a tensor holds: nf4 packs two into a byte."""
    return int(weight.numel()) * (2 if str(weight.dtype) == "torch.uint8" else 1)


def memory_now(device: Any) -> float:
    """Return the peak bytes that torch allocated on a GPU; on the CPU, the resident bytes of the process."""
    import torch

    from framework.core.peak_memory import resident_memory

    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else resident_memory()


def join_fitting(texts: list[tuple[int, str]], width: int) -> str:
    """Join (priority, text) pairs, without those of the highest numbers until the rest fits into *width*.

    >>> join_fitting([(0, "loss 1.2"), (2, "9 GiB"), (1, "5 s left")], 20)
    'loss 1.2  5 s left'
    """
    while len(line := "  ".join(text for _, text in texts)) > width:
        lowest = max(priority for priority, _ in texts)
        if not lowest:
            break
        texts = [(priority, text) for priority, text in texts if priority < lowest]
    return line


def format_seconds(seconds: float) -> str:
    """Return a readable duration.

    >>> format_seconds(42), format_seconds(600), format_seconds(20000)
    ('42 s', '10 min', '5.6 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def format_token_rate(rate: float) -> str:
    """Return readable tokens per second.

    >>> format_token_rate(957.4), format_token_rate(184_160)
    ('957 tokens/s', '184k tokens/s')
    """
    return f"{rate:.0f} tokens/s" if rate < 1e5 else f"{rate / 1e3:.0f}k tokens/s"
