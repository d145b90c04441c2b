"""How fast training is, and how much of a GPU it uses. It knows neither Lightning nor rows."""

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
"""Dense 16-bit operations a second that NVIDIA's data sheets give with 32-bit accumulation, by what a GPU's
name holds; the more particular name stands first."""


def peak_flops(name: str) -> float | None:
    """Return a GPU's peak of 16-bit operations a second, None where it is not known.

    >>> peak_flops("NVIDIA H100 80GB HBM3"), peak_flops("NVIDIA L40S"), peak_flops("GeForce GT 710")
    (989400000000000.0, 362000000000000.0, None)
    """
    words = name.replace("-", " ").split()
    return next((peak for key, peak in _PEAKS.items() if set(key.split()) <= set(words)), None)


def flops_per_token(model: Any) -> float:
    """Return the operations that training spends on a token: 4N and 2 more for each weight that is trained.

    So 6N for full fine-tuning, about 4N below an adapter: forward 2N, gradient of the activations 2N,
    gradient of the weights 2 each (Kaplan et al., 2020, arXiv:2001.08361, appendix B). N leaves out
    embeddings that are only looked up, and attention's own products; what is computed a second time
    (``gradient_checkpointing``) does not count, as is usual for model FLOPs utilisation.
    """
    embeddings = model.get_input_embeddings()
    head = model.get_output_embeddings()
    tied = head is not None and getattr(head, "weight", None) is getattr(embeddings, "weight", 0)
    looked_up = set() if tied else {id(p) for p in embeddings.parameters()}
    used = [p for p in model.parameters() if id(p) not in looked_up]
    trained = sum(p.numel() for p in used if p.requires_grad)
    return float(4.0 * sum(_count(p) for p in used) + 2.0 * trained)


def _count(weight: Any) -> int:
    """Return how many weights a tensor stands for: nf4 keeps two in a byte."""
    return int(weight.numel()) * (2 if str(weight.dtype) == "torch.uint8" else 1)


def memory_now(device: Any) -> float:
    """Return the peak bytes that torch took on a GPU, or the resident bytes of the process."""
    import torch

    from framework.core.peak_memory import resident_memory

    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else resident_memory()


def in_words(parts: list[tuple[int, str]], width: int) -> str:
    """Join the texts of *parts*, leaving out those of the highest numbers until all fit into *width*.

    >>> in_words([(0, "loss 1.2"), (2, "9 GiB"), (1, "5 s left")], 20)
    'loss 1.2  5 s left'
    """
    while len(text := "  ".join(part for _, part in parts)) > width and any(rank for rank, _ in parts):
        parts = [part for part in parts if part[0] < max(rank for rank, _ in parts)]
    return text


def seconds_in_words(seconds: float) -> str:
    """Return a duration as one reads it.

    >>> seconds_in_words(42), seconds_in_words(600), seconds_in_words(20000)
    ('42 s', '10 min', '5.6 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def tokens_in_words(rate: float) -> str:
    """Return a rate of tokens.

    >>> tokens_in_words(957.4), tokens_in_words(184_160)
    ('957 tokens/s', '184k tokens/s')
    """
    return f"{rate:.0f} tokens/s" if rate < 1e5 else f"{rate / 1e3:.0f}k tokens/s"
