"""The rules of gates: each bounds a metric that some step measures, with a value that it can have."""

import math
from collections.abc import Mapping, Sequence

from framework.build.stages.benchmark import Measure
from framework.build.stages.evaluate import METRIC_LOSS
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.parity import CompareExports
from framework.config.schema import REFERENCE, Config
from framework.core.gates import flat_metric
from framework.core.metric_range import metric_range
from framework.core.problem import Problem
from framework.core.suggest import nearest


def gate_rules(config: Config) -> list[Problem]:
    """Return every gate on a metric or a candidate that no step measures."""
    measured = _measured_metrics(config)
    problems = []
    for name in config.gates:
        candidate, metric = flat_metric(name).split(".", 1)
        metrics = measured.get(candidate)
        if metrics is None:
            reason, advice = f"no candidate '{candidate}'", f"choose one of {', '.join(measured)}"
        elif metric not in metrics:
            reason = f"no such metric for {config.model.task}"
            guess = nearest(metric, metrics)
            advice = f"did you mean '{guess}'?" if guess else f"choose one of {', '.join(metrics)}"
        else:
            continue
        problems.append(Problem(f"gates.{name}", reason, advice=advice))
    return problems


def gate_cautions(config: Config) -> list[Problem]:
    """Return every gate that no model can pass."""
    problems = []
    for name, bound in config.gates.items():
        low, high = metric_range(flat_metric(name).split(".", 1)[1])
        too_high = bound.min is not None and bound.min > high
        if too_high or (bound.max is not None and bound.max < low):
            valid = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            problems.append(Problem(f"gates.{name}", f"no model reaches {bound}: the metric is {valid}"))
    return problems


def _measured_metrics(config: Config) -> Mapping[str, Sequence[str]]:
    """Return the names of the metrics that are measured of each candidate."""
    task = config.model.task
    *earlier, _ = config.phases or ("",)
    held_out = EvaluatePhases.metrics(tuple(earlier), config.evaluation.metrics(task))
    timed = Measure.metrics(task)
    exported = (*CompareExports.metrics(task), *timed)
    measured = {**dict.fromkeys(("base", *earlier, "tuned"), held_out), REFERENCE: exported}
    measured |= {label: (*held_out, METRIC_LOSS, *timed) for label in config.reshapings}
    return measured | dict.fromkeys((config.shipped, *config.reductions), (*held_out, METRIC_LOSS, *exported))
