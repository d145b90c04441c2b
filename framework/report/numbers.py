"""Titles, units and direction of metrics, derived from their names, and axis ticks."""

import math
from collections.abc import Iterable

_TITLES = {
    "perplexity": "answer perplexity",
    "stops": "ends by itself",
    "size_bytes": "size",
    "peak_memory_bytes": "peak memory",
    "load_seconds": "load",
    "first_token_ms": "first token",
    "prefill_tokens_per_second": "prefill tokens/s",
    "decode_tokens_per_second": "decode tokens/s",
    "decode_spread": "spread",
    "rows_per_second": "rows/s",
    "batch_spread": "spread",
    "best_batch_size": "best batch",
    "best_tokens_per_second": "tokens/s at best batch",
    "best_rows_per_second": "rows/s at best batch",
    "cost_per_million_tokens": "cost per million tokens",
    "max_difference": "max logit difference",
    "mean_difference": "mean logit difference",
    "metric_loss": "loss vs tuned",
    "agreement": "same argmax",
    "generation_agreement": "identical generations",
    "batched_agreement": "identical in a batch",
    "batched_exact_match": "exact match in a batch",
    "batched_metric_loss": "loss in a batch",
}
_SHARES = ("accuracy", "stops", "exact_match", "agreement", "spread", "share", "metric_loss")
_LESS_IS_BETTER = ("_bytes", "_ms", "_seconds", "perplexity", "loss", "difference", "spread", "cost_per")


def title(metric: str) -> str:
    """Return the title of *metric* in a table.

    >>> title("decode_p99_ms"), title("macro_f1"), title("size_bytes")
    ('decode p99', 'macro F1', 'size')
    """
    plain = metric.removesuffix("_ms").replace("_", " ").replace("f1", "F1").replace("bleu", "BLEU")
    return _TITLES.get(metric) or plain


def less_is_better(metric: str) -> bool:
    """Return whether a lower value of *metric* is better."""
    if metric.endswith("_per_second"):
        return False
    return any(word in metric for word in _LESS_IS_BETTER)


def formatted(metric: str, value: float) -> str:
    """Return *value* for a reader, with its unit unless the title states it.

    >>> formatted("exact_match", 0.75), formatted("size_bytes", 87.2e6), formatted("decode_p99_ms", 12.345)
    ('75.0%', '87.2 MB', '12.3 ms')
    >>> formatted("decode_tokens_per_second", 34148.3), formatted("max_difference", 2e-06)
    ('34,100', '2e-06')
    """
    if metric.endswith("_bytes"):
        return size(value)
    if metric.endswith("_ms"):
        return f"{figure(value)} ms"
    if metric.endswith("_seconds"):
        return f"{figure(value)} s"
    if metric.endswith(_SHARES):
        return f"{value:.1%}"
    return figure(value)


def upper_limit(metric: str) -> float | None:
    """Return the largest possible value of *metric*, or None if it is unbounded."""
    return 1.0 if metric.endswith(_SHARES) and metric not in ("decode_spread", "batch_spread") else None


def tick_label(metric: str, value: float) -> str:
    """Return *value* as the label of an axis tick.

    >>> tick_label("exact_match", 0.75), tick_label("size_bytes", 87.2e6)
    ('75%', '87.2 MB')
    """
    return formatted(metric, value).replace(".0%", "%")


def figure(value: float) -> str:
    """Return *value* with three significant digits.

    >>> [figure(value) for value in (0, 0.0004567, 1.2345, 16.0, 123.4, 34148.3, 2e-6)]
    ['0', '0.000457', '1.23', '16', '123', '34,100', '2e-06']
    """
    if not math.isfinite(value) or value == 0:
        return f"{value + 0.0:g}"  # adding 0.0 turns -0.0 into 0
    if abs(value) < 1e-4:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if digits <= 0 else f"{rounded:.{digits}f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Return a number of bytes in decimal units, as for disks and downloads.

    >>> size(415), size(430944), size(1.5e9)
    ('415 B', '431 kB', '1.5 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{figure(count / unit)} {name}"
    return f"{count:.0f} B"


def ratio(one: float, other: float) -> str:
    """Return *one* as a multiple of *other*.

    >>> ratio(26.1, 1.0), ratio(1.0, 3.0)
    ('26 times', '0.33 times')
    """
    times = one / other
    return f"{times:.0f} times" if times >= 10 else f"{times:.2g} times"


def cost_per_million_tokens(price_per_hour: float, tokens_per_second: float) -> float:
    """Return the cost of a million tokens at *tokens_per_second*.

    >>> cost_per_million_tokens(3.6, 100)
    10.0
    """
    return price_per_hour / 3600 * 1e6 / tokens_per_second


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return evenly spaced round numbers from at most *low* to at least *high*.

    >>> ticks(0.02, 3.9)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    if high <= low:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    rough = (high - low) / (wanted - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times each power of ten, from at most *low* to at least *high*.

    >>> log_ticks(3, 140)
    [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
    >>> log_ticks(3, 10**4), len(log_ticks(3, 1e304))
    ([1.0, 10.0, 100.0, 1000.0, 10000.0], 9)
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [round(times * 10.0**power, 12) for power in powers for times in (1, 2, 5)]
    below = max(tick for tick in every if tick <= low * 1.001)
    above = min(tick for tick in every if tick >= high * 0.999)
    kept = [tick for tick in every if below <= tick <= above]
    # Across many powers of ten there is only room for the powers themselves.
    return kept if len(kept) <= 8 else _decades(kept)


def _decades(every: Iterable[float]) -> list[float]:
    ends = [*every]
    low, high = math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[-1]))
    apart = -(-(high - low + 1) // 8)  # this many only occur with a broken model
    return [10.0**power for power in range(high, low - apart, -apart)][::-1]
