"""How a metric is called, written and judged, by its name alone."""

import math
from collections.abc import Iterable

_TITLES = {
    "perplexity": "answer perplexity",
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
    "best_tokens_per_second": "its tokens/s",
    "best_rows_per_second": "its rows/s",
    "cost_per_million_tokens": "cost of a million tokens",
    "max_difference": "worst logit difference",
    "mean_difference": "mean logit difference",
    "metric_loss": "lost against tuned",
    "agreement": "same arg-max",
    "generation_agreement": "same whole answers",
}
_SHARES = ("accuracy", "exact_match", "agreement", "spread", "share", "metric_loss")
_LESS_IS_BETTER = ("_bytes", "_ms", "_seconds", "perplexity", "loss", "difference", "spread", "cost_per")


def title(metric: str) -> str:
    """Return how *metric* is called in a table.

    >>> title("decode_p99_ms"), title("macro_f1"), title("size_bytes")
    ('decode p99', 'macro F1', 'size')
    """
    plain = metric.removesuffix("_ms").replace("_", " ").replace("f1", "F1").replace("bleu", "BLEU")
    return _TITLES.get(metric) or plain


def less_is_better(metric: str) -> bool:
    """Tell whether a smaller value of *metric* is the better one."""
    if metric.endswith("_per_second"):
        return False
    return any(metric.endswith(part) or part in metric for part in _LESS_IS_BETTER)


def written(metric: str, value: float) -> str:
    """Return *value* as a reader wants it, with its unit where the title does not say it.

    >>> written("exact_match", 0.75), written("size_bytes", 87.2e6), written("decode_p99_ms", 12.345)
    ('75.0%', '87.2 MB', '12.3 ms')
    >>> written("decode_tokens_per_second", 34148.3), written("max_difference", 2e-06)
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


def most(metric: str) -> float | None:
    """Return the largest value that *metric* can have, where there is one."""
    return 1.0 if metric.endswith(_SHARES) and metric not in ("decode_spread", "batch_spread") else None


def short(metric: str, value: float) -> str:
    """Return *value* as it is written beside an axis.

    >>> short("exact_match", 0.75), short("size_bytes", 87.2e6)
    ('75%', '87.2 MB')
    """
    return written(metric, value).replace(".0%", "%")


def figure(value: float) -> str:
    """Return *value* with three significant digits.

    >>> [figure(value) for value in (0, 0.0004567, 1.2345, 16.0, 123.4, 34148.3, 2e-6)]
    ['0', '0.000457', '1.23', '16', '123', '34,100', '2e-06']
    """
    if not math.isfinite(value) or value == 0:
        return f"{value + 0.0:g}"  # and never a negative nought
    if abs(value) < 1e-4:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if digits <= 0 else f"{rounded:.{digits}f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Return a number of bytes in decimal units, as disks and downloads are counted.

    >>> size(415), size(430944), size(1.5e9)
    ('415 B', '431 kB', '1.5 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{figure(count / unit)} {name}"
    return f"{count:.0f} B"


def ratio(one: float, other: float) -> str:
    """Return how many times *other* goes into *one*.

    >>> ratio(26.1, 1.0), ratio(1.0, 3.0)
    ('26 times', '0.33 times')
    """
    times = one / other
    return f"{times:.0f} times" if times >= 10 else f"{times:.2g} times"


def cost_per_million_tokens(price_per_hour: float, tokens_per_second: float) -> float:
    """Return what a million tokens cost at so many a second.

    >>> cost_per_million_tokens(3.6, 100)
    10.0
    """
    return price_per_hour / 3600 * 1e6 / tokens_per_second


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers that reach from below *low* to above *high*.

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
    """Return 1, 2 and 5 of each power of ten, from below *low* to above *high*.

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
    # Over many powers of ten only those themselves have room for their names.
    return kept if len(kept) <= 8 else _decades(kept)


def _decades(every: Iterable[float]) -> list[float]:
    ends = [*every]
    low, high = math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[-1]))
    apart = -(-(high - low + 1) // 8)  # many powers of ten only where a model is broken
    return [10.0**power for power in range(high, low - apart, -apart)][::-1]
