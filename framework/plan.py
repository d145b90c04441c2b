"""The plan: a config as a graph of steps.

Pure: it reads local files' hashes and library versions for the keys, and writes nothing. Whether a
step is built already, the store knows; what it will cost, ``framework.estimate``.
"""

import hashlib
from dataclasses import dataclass

from framework.config.schema import Config
from framework.core.errors import PlanError
from framework.core.step import Step
from framework.evaluation import Bound
from framework.export import Parity
from framework.rules import REFERENCE, broken_rules, cautions
from framework.stages.benchmark import Measure
from framework.stages.compress import Compress
from framework.stages.data import PrepareData
from framework.stages.evaluate import Evaluate
from framework.stages.export import ExportModel
from framework.stages.gate import Gate
from framework.stages.merge import Merge
from framework.stages.model import FetchModel
from framework.stages.parity import CompareExports
from framework.stages.publish import PublishRelease
from framework.stages.tune import Tune


@dataclass(frozen=True)
class Plan:
    """Every step of a config, inputs before what needs them; the last one makes the release."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def last(self) -> Step:
        """The step that publishes and writes ``release.lock``."""
        return self.steps[-1]

    def step(self, label: str) -> Step:
        """Return the step that the table calls *label*."""
        return next(step for step in self.steps if step.label == label)


def make_plan(config: Config, recipe: str) -> Plan:
    """Turn a config into steps.

    Raises:
        PlanError: options that cannot work together, each with the override that mends it, or local
            files that are missing.
    """
    if problems := broken_rules(config):
        raise PlanError("\n  ".join(["The plan cannot run:", *problems]))
    described = config.model
    # What only describes a model shapes no byte; a corrected licence must not train again.
    undescribed = described.model_copy(update={"license": "", "parameters": 1.0})
    config = config.model_copy(update={"model": undescribed})
    model = Step("model", FetchModel(model=config.model, seed=config.seed))
    data = Step("data", PrepareData(data=config.data, model=config.model), {"model": model})
    tune_stage = Tune(
        model=config.model,
        tuning=config.tuning,
        training=config.training,
        parallelism=config.parallelism,
        device=config.environment.hardware.device,
        seed=config.seed,
    )
    tune = Step("tune", tune_stage, {"model": model, "data": data})
    merge = Step("merge", Merge(model=config.model, tuning=config.tuning), {"model": model, "tune": tune})
    tested = [
        _evaluate(config, "base", "torch", model, data, model),
        _evaluate(config, "tuned", "torch", merge, data, model),
    ]
    quality, export_bounds = _split_gates(config)
    passed = Step("gate quality", Gate(bounds=quality), {step.label: step for step in tested})
    shipped_part = _exported(config, model, data, merge, passed, export_bounds)
    inputs = {"data": data, **{step.label: step for step in [*tested, passed]}, **shipped_part}
    covered = hashlib.sha256("".join(sorted(step.key for step in inputs.values())).encode()).hexdigest()
    publish_stage = PublishRelease(
        release=config.name,
        recipe=recipe,
        publish=config.publish,
        model=described,
        engine=config.export.engine,
        plan=covered,
    )
    publish = Step("publish", publish_stage, inputs)
    return Plan(tuple(publish.walk()), tuple(cautions(config)))


def _evaluate(config: Config, candidate: str, engine: str, folder: Step, data: Step, model: Step) -> Step:
    stage = Evaluate(candidate=candidate, engine=engine, model=config.model, evaluation=config.evaluation)
    return Step(f"evaluate {candidate}", stage, {"candidate": folder, "data": data, "data_model": model})


def _exported(
    config: Config, model: Step, data: Step, merge: Step, passed: Step, bounds: dict[str, Bound]
) -> dict[str, Step]:
    """Return every step behind the quality gate, by label; the shipped one also as ``shipped``."""
    engine, label = config.export.engine, config.compression.label
    # The bounds of parity shape no export's bytes; looser ones must not export again.
    exporter = config.export.model_copy(update={"parity": Parity()})
    # Nothing is exported before the tuned model has passed; its bytes do not depend on the bounds.
    stage = ExportModel(export=exporter)
    exported = Step(f"export {REFERENCE}", stage, {"model": merge}, after=(passed,))
    candidates = {REFERENCE: exported}
    if not config.compression.changes_nothing:
        smaller = Compress(compression=config.compression, export=exporter)
        candidates[label] = Step(f"compress {label}", smaller, {"model": merge, "exported": exported})
    shipped = candidates[label]
    evaluated = _evaluate(config, label, engine, shipped, data, model)
    extent = Parity(rows=config.export.parity.rows, generations=config.export.parity.generations)
    parity_stage = CompareExports(
        parity=extent, task=config.model.task, engine=engine, candidates=tuple(candidates)
    )
    parity = Step("parity", parity_stage, {"model": merge, "data": data, **candidates})
    engines = {"tuned": "torch", **dict.fromkeys(candidates, engine)}
    measure = Measure(benchmark=config.benchmark, task=config.model.task, engines=engines)
    measured = Step("benchmark", measure, {"tuned": merge, **candidates})
    judged = {step.label: step for step in (evaluated, parity, measured)}
    gate = Step("gate export", Gate(bounds=_parity_bounds(config) | bounds), judged)
    return {"shipped": shipped, **judged, gate.label: gate}


def _parity_bounds(config: Config) -> dict[str, Bound]:
    parity, label = config.export.parity, config.compression.label
    bounds = {
        f"{REFERENCE}.max_difference": Bound(max=parity.max_difference),
        f"{REFERENCE}.agreement": Bound(min=parity.reference_agreement),
    }
    if label != REFERENCE:
        bounds[f"{label}.agreement"] = Bound(min=parity.agreement)
    return bounds


def _split_gates(config: Config) -> tuple[dict[str, Bound], dict[str, Bound]]:
    """Return the bounds of the quality gate, and those that only the exported model can meet."""
    flat = {name if "." in name else f"tuned.{name}": bound for name, bound in config.gates.items()}
    early = {name: bound for name, bound in flat.items() if name.partition(".")[0] in ("base", "tuned")}
    return early, {name: bound for name, bound in flat.items() if name not in early}
