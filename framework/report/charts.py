"""The report's charts: training curves, and quality against speed or size."""

import math
from collections.abc import Mapping, Sequence

from framework.report.facts import Candidate
from framework.report.numbers import formatted, less_is_better, tick_label, title, upper_limit
from framework.report.svg import Axis, Frame, labels, marker, path, picture, text, width

_POINTS = 240
"""Most points of a line; more would not be visible."""
_NAMED, _LONGEST = 9, 18
"""Most points labeled by name, and the longest name; otherwise labels are the table's row numbers."""

Entries = Sequence[Mapping[str, float]]
"""A training log: ``step``, and ``loss`` with ``learning_rate``, or ``validation_loss``."""


def loss_curve(identity: str, label: str, entries: Entries) -> str:
    """Return the training loss by step, and the validation loss if it was measured."""
    lines = {name: _line(entries, name) for name in ("loss", "validation_loss")}
    values = [value for line in lines.values() for _, value in line]
    frame = _frame(lines["loss"], values, "loss")
    body = frame.drawn()
    for number, line in enumerate(lines.values()):
        if line:
            body += path(_pixels(frame, _thinned(line)), f"line series{number}")
    if lines["validation_loss"]:
        body += _key([("training loss", 0), ("validation loss", 1)])
    first, last = lines["loss"][0], lines["loss"][-1]
    verb = "rises" if last[1] > first[1] else "falls"
    change = f"from {first[1]:.3f} at step {first[0]:g} to {last[1]:.3f} at step {last[0]:g}"
    return picture(identity, f"Loss of {label}", f"The loss {verb} {change}.", body)


def rate_curve(identity: str, label: str, entries: Entries) -> str:
    """Return the learning rate by step."""
    line = _line(entries, "learning_rate")
    frame = _frame(line, [0.0, *(value for _, value in line)], "learning rate")
    body = frame.drawn() + path(_pixels(frame, _thinned(line)), "line series0")
    summary = f"Maximum {max(value for _, value in line):.3g}, final {line[-1][1]:.3g}."
    return picture(identity, f"Learning rate of {label}", summary, body)


def _line(entries: Entries, name: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[name]) for entry in entries if _finite(entry, name)]


def _finite(metrics: Mapping[str, float], name: str) -> bool:
    """Return whether *name* can be drawn on an axis: a broken model's values may be infinite or NaN."""
    return math.isfinite(metrics.get(name, math.inf))


def _frame(line: Sequence[tuple[float, float]], values: Sequence[float], name: str) -> Frame:
    across = Axis.over([step for step, _ in line] or [0.0, 1.0], "step", may_be_log=False)
    return Frame(across, Axis.over(values, name))


def _pixels(frame: Frame, line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(frame.x(step), frame.y(value)) for step, value in line]


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the lowest and highest point of each interval, so that a long line keeps its peaks."""
    if len(line) <= _POINTS:
        return list(line)
    length = -(-2 * len(line) // _POINTS)
    kept = []
    for start in range(0, len(line), length):
        interval = line[start : start + length]
        extremes = {min(interval, key=lambda point: point[1]), max(interval, key=lambda point: point[1])}
        kept += sorted(extremes)
    return [line[0], *(point for point in kept if point not in (line[0], line[-1])), line[-1]]


def _key(names: Sequence[tuple[str, int]]) -> str:
    """Return the legend, in the corner that falling lines leave free."""
    parts = []
    for row, (words, series) in enumerate(names):
        y = 24 + 15 * row
        parts.append(path([(226, y), (246, y)], f"line series{series}"))
        parts.append(text(251, y + 4, words))
    return "".join(parts)


def trade_off(
    identity: str,
    candidates: Sequence[Candidate],
    series: Sequence[int],
    quality: str,
    against: str,
) -> str:
    """Return *quality* against another metric, oriented so that up and right are better.

    A horizontal line is a candidate of which only the quality is known. A filled marker is a candidate that
    no other beats in both metrics. Empty if fewer than two candidates have both.

    Args:
        identity: unique in the page.
        candidates: the rows of the table, in order.
        series: the number of each candidate's recipe.
        quality: an evaluation metric.
        against: a speed or a size.
    """
    rows = [
        (number, candidate, which)
        for number, (candidate, which) in enumerate(zip(candidates, series, strict=True), 1)
        if _finite(candidate.metrics, quality) and _finite(candidate.metrics, against)
    ]
    if len(rows) < 2:
        return ""
    values = [(row[1].metrics[against], row[1].metrics[quality]) for row in rows]
    less = less_is_better(against), less_is_better(quality)
    levels = [
        (candidate.name, candidate.metrics[quality])
        for candidate in candidates
        if _finite(candidate.metrics, quality) and against not in candidate.metrics
    ]
    across = _axis(against, [x for x, _ in values])
    up = _axis(quality, [*(y for _, y in values), *(level for _, level in levels)])
    frame = Frame(across, up)
    grid = frame.drawn() + _levels(frame, levels)
    named = labeled_by_name([row[1] for row in rows])
    marks, points = [], []
    for (number, candidate, which), pair in zip(rows, values, strict=True):
        kind = "beaten" if any(_beats(other, pair, less) for other in values) else "best"
        marks.append(marker(frame.x(pair[0]), frame.y(pair[1]), which, kind))
        points.append((frame.x(pair[0]), frame.y(pair[1]), candidate.name if named else str(number)))
    description = "; ".join(
        f"{candidate.name}: {formatted(quality, pair[1])} at {formatted(against, pair[0])}"
        for (_, candidate, _), pair in zip(rows, values, strict=True)
    )
    heading = f"{title(quality)} against {title(against)}"
    return picture(identity, heading, f"{description}.", grid + "".join(marks) + labels(points))


def labeled_by_name(candidates: Sequence[Candidate]) -> bool:
    """Return whether the chart has room for the candidates' names."""
    return len(candidates) <= _NAMED and all(len(candidate.name) <= _LONGEST for candidate in candidates)


def _axis(metric: str, values: Sequence[float]) -> Axis:
    less = less_is_better(metric)
    name = f"{title(metric)} ({'lower' if less else 'higher'} is better)"
    return Axis.over(values, name, less, lambda value: tick_label(metric, value), most=upper_limit(metric))


def _levels(frame: Frame, levels: Sequence[tuple[str, float]]) -> str:
    """Return a horizontal line for each candidate that was evaluated but not timed, such as the base model.

    Their names are staggered, because lines may be close together.
    """
    left, right = sorted((frame.x(frame.across.low), frame.x(frame.across.high)))
    parts, x = [], left + 4
    for name, value in levels:
        y = frame.y(value)
        parts.append(path([(left, y), (right, y)], "line level"))
        parts.append(text(x, y - 4, name))
        x += width(name) + 10
    return "".join(parts)


def _beats(one: tuple[float, float], other: tuple[float, float], less: tuple[bool, bool]) -> bool:
    """Return whether *one* is at least as good in both metrics, and better in one."""
    signs = [-1 if small else 1 for small in less]
    gains = [sign * (a - b) for sign, a, b in zip(signs, one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def mark(series: int) -> str:
    """Return a recipe's marker, to be shown next to its name."""
    drawn = marker(8, 8, series, "best")
    return f'<svg class="inline" viewBox="0 0 16 16" aria-hidden="true">{drawn}</svg>'
