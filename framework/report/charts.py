"""The report's charts: how training went, and quality against speed and against size."""

import math
from collections.abc import Mapping, Sequence

from framework.report.facts import Candidate
from framework.report.numbers import less_is_better, most, short, title, written
from framework.report.svg import Axis, Frame, labels, marker, path, picture, text, width

_POINTS = 240
"""Most points of a line: more would not be seen."""
_NAMED, _LONGEST = 9, 18
"""Most points that bear their names, and the longest name; else they bear their numbers in the table."""

Entries = Sequence[Mapping[str, float]]
"""A training's log: ``step``, and ``loss`` with ``learning_rate``, or ``validation_loss``."""


def loss_curve(identity: str, label: str, entries: Entries) -> str:
    """Return the loss by step, and that on rows that were held back, where it was measured."""
    lines = {name: _line(entries, name) for name in ("loss", "validation_loss")}
    values = [value for line in lines.values() for _, value in line]
    frame = _frame(lines["loss"], values, "loss")
    body = frame.drawn()
    for number, line in enumerate(lines.values()):
        if line:
            body += path(_pixels(frame, _thinned(line)), f"line series{number}")
    if lines["validation_loss"]:
        body += _key([("trained rows", 0), ("held-back rows", 1)])
    first, last = lines["loss"][0], lines["loss"][-1]
    told = f"The loss falls from {first[1]:.3f} at step {first[0]:g} to {last[1]:.3f} at step {last[0]:g}."
    if last[1] > first[1]:
        told = told.replace("falls", "goes")
    return picture(identity, f"Loss of {label}", told, body)


def rate_curve(identity: str, label: str, entries: Entries) -> str:
    """Return the learning rate by step."""
    line = _line(entries, "learning_rate")
    frame = _frame(line, [0.0, *(value for _, value in line)], "learning rate")
    body = frame.drawn() + path(_pixels(frame, _thinned(line)), "line series0")
    told = f"Its highest is {max(value for _, value in line):.3g}, its last {line[-1][1]:.3g}."
    return picture(identity, f"Learning rate of {label}", told, body)


def _line(entries: Entries, name: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[name]) for entry in entries if _finite(entry, name)]


def _finite(metrics: Mapping[str, float], name: str) -> bool:
    """Tell whether *metrics* has a place on an axis for *name*: not what a broken model measures."""
    return math.isfinite(metrics.get(name, math.inf))


def _frame(line: Sequence[tuple[float, float]], values: Sequence[float], name: str) -> Frame:
    across = Axis.over([step for step, _ in line] or [0.0, 1.0], "step", may_be_log=False)
    return Frame(across, Axis.over(values, name))


def _pixels(frame: Frame, line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(frame.x(step), frame.y(value)) for step, value in line]


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return lowest and highest of each stretch, so that a long line keeps its peaks."""
    if len(line) <= _POINTS:
        return list(line)
    stretch = -(-2 * len(line) // _POINTS)
    kept = []
    for start in range(0, len(line), stretch):
        part = line[start : start + stretch]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return [line[0], *(point for point in kept if point not in (line[0], line[-1])), line[-1]]


def _key(names: Sequence[tuple[str, int]]) -> str:
    """Return what each line is, in the corner that falling lines leave free."""
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
    """Return *quality* against another metric: up and right are better, whichever is less.

    A line across is a candidate of which only the quality is known. A filled mark
    is a candidate that no other beats in both. Empty where fewer than two have both.

    Args:
        identity: unique in the page.
        candidates: the rows of the table, in their order.
        series: a number for each, of the recipe that it is of.
        quality: the metric that evaluation gives.
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
    levels = [each for each in candidates if _finite(each.metrics, quality) and against not in each.metrics]
    across = _axis(against, [one for one, _ in values])
    up = _axis(quality, [*(two for _, two in values), *(each.metrics[quality] for each in levels)])
    frame = Frame(across, up)
    grid = frame.drawn() + _levels(frame, [(each.name, each.metrics[quality]) for each in levels])
    named = bear_names([row[1] for row in rows])
    marks, points = [], []
    for (number, candidate, which), pair in zip(rows, values, strict=True):
        kind = "beaten" if any(_beats(other, pair, less) for other in values) else "best"
        marks.append(marker(frame.x(pair[0]), frame.y(pair[1]), which, kind))
        points.append((frame.x(pair[0]), frame.y(pair[1]), candidate.name if named else str(number)))
    told = "; ".join(
        f"{candidate.name}: {written(quality, pair[1])} at {written(against, pair[0])}"
        for (_, candidate, _), pair in zip(rows, values, strict=True)
    )
    heading = f"{title(quality)} against {title(against)}"
    return picture(identity, heading, f"{told}.", grid + "".join(marks) + labels(points))


def bear_names(candidates: Sequence[Candidate]) -> bool:
    """Tell whether points have room for their names."""
    return len(candidates) <= _NAMED and all(len(each.name) <= _LONGEST for each in candidates)


def _axis(metric: str, values: Sequence[float]) -> Axis:
    less = less_is_better(metric)
    name = f"{title(metric)} ({'less' if less else 'more'} is better)"
    return Axis.over(values, name, less, lambda value: short(metric, value), most=most(metric))


def _levels(frame: Frame, levels: Sequence[tuple[str, float]]) -> str:
    """Return a line across for what has the quality but was not timed, such as the base model.

    Their names stand one after the other, since lines may be close together.
    """
    left, right = sorted((frame.x(frame.across.low), frame.x(frame.across.high)))
    parts, place = [], left + 4
    for name, value in levels:
        y = frame.y(value)
        parts.append(path([(left, y), (right, y)], "line level"))
        parts.append(text(place, y - 4, name))
        place += width(name) + 10
    return "".join(parts)


def _beats(one: tuple[float, float], other: tuple[float, float], less: tuple[bool, bool]) -> bool:
    """Tell whether *one* is at least as good in both, and better in one."""
    signs = [-1 if small else 1 for small in less]
    gains = [sign * (a - b) for sign, a, b in zip(signs, one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def mark(series: int) -> str:
    """Return the mark of a recipe for beside its name."""
    drawn = marker(8, 8, series, "best")
    return f'<svg class="inline" viewBox="0 0 16 16" aria-hidden="true">{drawn}</svg>'
