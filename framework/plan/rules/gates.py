"""The rules of gates: each bounds a metric that some step measures, with a value that it can have."""

import math
from collections.abc import Iterator, Sequence

from framework.config.schema import Config
from framework.core.gates import is_bare
from framework.core.metric_range import metric_range
from framework.core.problem import Problem
from framework.core.suggest import nearest
from framework.plan.bounds import bare_bindings, measured_metrics


def gate_rules(config: Config) -> list[Problem]:
    """Return every gate on a metric or a candidate that no step measures; a bare one that binds nothing."""
    measured = measured_metrics(config)
    problems = [
        Problem(
            f"gates.{binding.metric}",
            f"no such metric for {config.model.task}",
            advice=_closest(binding.metric, measured[config.shipped], measured["base"]),
        )
        for binding in bare_bindings(config)
        if not binding.candidates and not binding.replaced
    ]
    for name in config.gates:
        if is_bare(name):
            continue
        candidate, metric = name.split(".", 1)
        metrics = measured.get(candidate)
        if metrics is None:
            reason, advice = f"no candidate '{candidate}'", f"choose one of {', '.join(measured)}"
        elif metric not in metrics:
            reason, advice = f"no such metric for {config.model.task}", _closest(metric, metrics, metrics)
        else:
            continue
        problems.append(Problem(f"gates.{name}", reason, advice=advice))
    return problems


def gate_cautions(config: Config) -> list[Problem]:
    """Return every gate that no model can pass, in the recipe or the environment."""
    return [*_unreachable(config), *_unmeasured_here(config)]


def _unreachable(config: Config) -> Iterator[Problem]:
    """Yield the gates whose bound is out of their metric's range."""
    for place, gates in (("gates", config.gates), ("environment.gates", config.environment.gates)):
        for name, bound in gates.items():
            low, high = metric_range(name.rpartition(".")[2])
            too_high = bound.min is not None and bound.min > high
            if too_high or (bound.max is not None and bound.max < low):
                valid = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
                yield Problem(f"{place}.{name}", f"no model reaches {bound}: the metric is {valid}")


def _unmeasured_here(config: Config) -> Iterator[Problem]:
    """Yield the environment's gates on a metric that the release will not record."""
    measured = measured_metrics(config)
    for name in config.environment.gates:
        candidate, metric = (config.shipped, name) if is_bare(name) else name.split(".", 1)
        metrics = measured.get(candidate)
        if metrics is None:
            reason, advice = f"no candidate '{candidate}'", f"choose one of {', '.join(measured)}"
        elif metric not in metrics:
            reason = f"it binds {candidate}, of which {metric} is not measured"
            advice = _closest(metric, metrics, measured["base"])
        else:
            continue
        reason = f"{reason}, so {config.environment.name} refuses the release"
        yield Problem(f"environment.gates.{name}", reason, advice=advice)


def _closest(metric: str, metrics: Sequence[str], listed: Sequence[str]) -> str:
    """Return advice: the most similar of *metrics*, or the list of choices."""
    guess = nearest(metric, metrics)
    return f"did you mean '{guess}'?" if guess else f"choose one of {', '.join(listed)}"
