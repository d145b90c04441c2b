"""The rule of gates: each has to bound a metric that some step measures."""

from collections.abc import Mapping, Sequence

from framework.build.stages.benchmark import Measure
from framework.build.stages.evaluate import METRIC_LOSS
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.parity import CompareExports
from framework.config.schema import REFERENCE, Config
from framework.core.gates import flat_metric
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
