"""Which bound binds which candidate, and which gate of the plan judges it.

A bare metric binds the tuned model and every candidate that is made of it, if it is measured there; never the
base model, nor an earlier phase, of which the tuned model is made. Each gate judges what is measured before
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.build.stages.benchmark import Measure
from framework.build.stages.evaluate import METRIC_LOSS
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.parity import BATCHED, BATCHED_LOSS, CompareExports, width_metric
from framework.build.task import open_task
from framework.build.task.answers import STOPS
from framework.config.schema import REFERENCE, Config
from framework.core.gates import Bound, bind, is_bare

TUNED = "tuned"
_LEAST_STOPS = Bound(min=0.5)


@dataclass(frozen=True)
class GateBounds:
    """The recipe's bounds by flat metric name, for each gate of the plan."""

    phases: Mapping[str, Mapping[str, Bound]]
    """Those of each earlier phase that has any, by its name."""
    quality: Mapping[str, Bound]
    """Those of the base and the tuned model on the held-out rows, judged before the export."""
    exported: Mapping[str, Bound]
    """All others, and those of ``export.parity``."""


@dataclass(frozen=True)
class Binding:
    """What a bare metric of the recipe's gates binds."""

    metric: str
    bound: Bound
    candidates: tuple[str, ...]
    """The candidates that it binds."""
    replaced: tuple[str, ...]
    """The candidates with a bound of their own, which replaces it."""
    unmeasured: tuple[str, ...]
    """The candidates of which the metric is not measured."""


def measured_metrics(config: Config) -> Mapping[str, Sequence[str]]:
    """Return the names of the metrics that are measured of each candidate."""
    task = config.model.task
    *earlier, _ = config.phases or ("",)
    held_out = EvaluatePhases.metrics(tuple(earlier), config.evaluation.metrics(task))
    timed = Measure.metrics(task)
    exported = (*CompareExports.metrics(task, config.export.parity, _engine(config)), *timed)
    measured = dict.fromkeys(("base", *earlier), held_out)
    measured |= {TUNED: (*held_out, *timed), REFERENCE: exported}
    measured |= {label: (*held_out, METRIC_LOSS, *timed) for label in config.reshapings}
    return measured | dict.fromkeys((config.shipped, *config.reductions), (*held_out, METRIC_LOSS, *exported))


def _engine(config: Config) -> str:
    """Return the engine that the exports are judged with."""
    return config.export.engine_on(config.environment.hardware.device)


def bare_bindings(config: Config) -> list[Binding]:
    """Return what each bare metric of the recipe's gates binds, in the recipe's order."""
    measured = measured_metrics(config)
    bindings = []
    for name, bound in config.gates.items():
        if is_bare(name):
            made = (TUNED, *config.candidates)
            replaced = tuple(label for label in made if f"{label}.{name}" in config.gates)
            rest = [label for label in made if label not in replaced]
            bound_to = tuple(label for label in rest if name in measured[label])
            unmeasured = tuple(label for label in rest if name not in measured[label])
            bindings.append(Binding(name, bound, bound_to, replaced, unmeasured))
    return bindings


def recipe_bounds(config: Config) -> GateBounds:
    """Return the bounds of the recipe's gates and of parity, by the gate that judges them."""
    bindings = {binding.metric: binding.candidates for binding in bare_bindings(config)}
    held_out = measured_metrics(config)["base"]
    *earlier, _ = config.phases or ("",)
    phases: dict[str, dict[str, Bound]] = {}
    quality: dict[str, Bound] = {}
    exported = _parity_bounds(config)
    for name, bound in bind(config.gates, bindings.__getitem__).items():
        candidate, _, metric = name.partition(".")
        if candidate in earlier:
            phases.setdefault(candidate, {})[name] = bound
        elif candidate in ("base", TUNED) and metric in held_out:
            quality[name] = bound
        elif name in exported and name not in config.gates:
            exported[name] = _stricter(
                bound, exported[name]
            )  # a bare metric loosens no candidate's own bound
        else:
            exported[name] = bound
    return GateBounds(phases, quality, exported)


def _stricter(one: Bound, other: Bound) -> Bound:
    """Return the bound that admits what both admit; *one* if that is nothing."""
    low = max((side.min for side in (one, other) if side.min is not None), default=None)
    high = min((side.max for side in (one, other) if side.max is not None), default=None)
    return one if low is not None and high is not None and low > high else Bound(min=low, max=high)


def default_bounds(config: Config, *candidates: str) -> dict[str, Bound]:
    """Return the bounds that hold without a gate in the recipe: most answers end by themselves.

    A model that was never taught to stop scores 0, and its answers run to the limit. Of free text, not every
    argmax at the end of a reference is an end, so the bound is no stricter. A gate ``stops`` of the recipe
    replaces it.
    """
    if STOPS in config.gates or STOPS not in config.evaluation.metrics(config.model.task):
        return {}
    return {f"{candidate}.{STOPS}": _LEAST_STOPS for candidate in candidates}


def _parity_bounds(config: Config) -> dict[str, Bound]:
    """Return the bounds of ``export.parity`` and of the bits that a compression claims."""
    parity = config.export.parity
    bounds = {
        f"{REFERENCE}.max_difference": Bound(max=parity.max_difference),
        f"{REFERENCE}.agreement": Bound(min=parity.reference_agreement),
    }
    for label, option in config.reductions.items():
        bounds[f"{label}.agreement"] = Bound(min=parity.agreement)
        # The parity stage counts the bits in the files.
        bounds[f"{label}.{width_metric(option.bits)}"] = Bound(min=option.least_share)
    if parity.generations and open_task(config.model.task).generates:
        least = dict.fromkeys(config.reductions, parity.generation_agreement)
        shares = {REFERENCE: parity.reference_generation_agreement, **least}
        bounds |= {
            f"{label}.generation_agreement": Bound(min=share) for label, share in shares.items() if share
        }
    if BATCHED in measured_metrics(config)[REFERENCE]:
        least = dict.fromkeys(config.reductions, parity.batched_agreement)
        shares = {REFERENCE: parity.reference_batched_agreement, **least}
        bounds |= {f"{label}.{BATCHED}": Bound(min=share) for label, share in shares.items() if share}
    if parity.max_metric_loss is not None:
        for label in [*config.reductions] or [REFERENCE]:
            bounds[f"{label}.{METRIC_LOSS}"] = Bound(max=parity.max_metric_loss)
            if BATCHED_LOSS in measured_metrics(config)[label]:
                bounds[f"{label}.{BATCHED_LOSS}"] = Bound(max=parity.max_metric_loss)
    return bounds
