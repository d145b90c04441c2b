"""The plan: a config as a graph of steps.

Pure: it reads the hashes of local files and library versions for the keys, and writes nothing. It does not
know which steps are built (the store does), nor what they cost (``framework.plan.estimate``).
"""

import hashlib
from dataclasses import dataclass
from typing import cast

from framework.build.export import Parity
from framework.build.stages.benchmark import Measure
from framework.build.stages.clean import CleanRows
from framework.build.stages.compress import Compress, Reshape
from framework.build.stages.encode import EncodeRows
from framework.build.stages.evaluate import Evaluate
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.export import ExportModel
from framework.build.stages.gate import Gate
from framework.build.stages.merge import Merge
from framework.build.stages.model import FetchModel
from framework.build.stages.parity import CompareExports
from framework.build.stages.publish import PublishRelease
from framework.build.stages.read import ReadRows
from framework.build.stages.select import SelectRows
from framework.build.stages.tune import Tune
from framework.config.schema import REFERENCE, Config, Phase
from framework.core.errors import PlanError
from framework.core.problem import Problem
from framework.core.step import Step
from framework.plan.bounds import TUNED, GateBounds, default_bounds, recipe_bounds
from framework.plan.rules import broken_rules, cautions

Rows = dict[str, Step]
"""The data step of each phase by name, in order; the name is "" in a recipe without phases."""


@dataclass(frozen=True)
class Plan:
    """Every step of a config, inputs first; the last step makes the release."""

    steps: tuple[Step, ...]
    warnings: tuple[Problem, ...]
    """What works but may surprise."""

    @property
    def last(self) -> Step:
        """The step that publishes and writes ``release.lock``."""
        return self.steps[-1]

    @property
    def key(self) -> str:
        """The digest of every step behind the release; the model store keeps the lock under it."""
        return cast(PublishRelease, self.last.stage).plan

    def step(self, label: str) -> Step:
        """Return the step with the label *label*."""
        return next(step for step in self.steps if step.label == label)


def make_plan(config: Config, recipe: str) -> Plan:
    """Turn a config into steps.

    Raises:
        PlanError: options that do not work together, or local files that are missing.
    """
    if problems := broken_rules(config):
        raise PlanError("The plan cannot run:", problems)
    warnings = tuple(cautions(config))
    described = config.model
    # Descriptions change no bytes: a corrected license must not train again.
    undescribed = described.model_copy(update={"license": "", "parameters": 1.0})
    config = config.model_copy(update={"model": undescribed})
    fetch = FetchModel(model=config.model, seed=config.seed, export=config.export)
    model = Step("model", fetch)
    bounds = recipe_bounds(config)
    rows, tested, merge, passed = _trained(config, model, bounds)
    quality = Step(
        "gate quality",
        Gate(bounds=dict(bounds.quality), defaults=default_bounds(config, TUNED)),
        {step.label: step for step in tested},
    )
    reshaped, remade = _reshaped(config, model, rows, merge, quality)
    torch_folders = {"tuned": merge, **reshaped}
    shipped_part = _exported(config, model, rows, torch_folders, [quality, *remade], bounds)
    judged = {step.label: step for step in [*tested, *passed, quality, *remade]}
    inputs = {**_slots(rows), **judged, **shipped_part}
    covered = hashlib.sha256("".join(sorted(step.key for step in inputs.values())).encode()).hexdigest()
    publish_stage = PublishRelease(
        release=config.name,
        recipe=recipe,
        publish=config.publish,
        model=described,
        candidate=config.shipped,
        engine=config.export.engine,
        plan=covered,
    )
    publish = Step("publish", publish_stage, inputs)
    return Plan(tuple(publish.walk()), warnings)


def _trained(config: Config, model: Step, bounds: GateBounds) -> tuple[Rows, list[Step], Step, list[Step]]:
    """Return each phase's rows, the evaluations of base and candidates, the last merge, and earlier gates.

    A phase starts from the merged weights of the previous one. Its gate, if it has bounds, stops the plan
    before the next phase is trained.
    """
    phases = config.phases or {"": Phase(data=config.data, tuning=config.tuning, training=config.training)}
    rows = {name: _encoded(config, name, phase, model) for name, phase in phases.items()}
    tested = [_evaluate(config, "base", "torch", model, rows, model)]
    # Invalid rows of the last phase should stop the plan before the first is trained.
    folder, last, after = model, list(phases)[-1], tuple(rows.values()) if config.phases else ()
    gates = []
    for name, phase in phases.items():
        tune = _tune(config, f"tune {name}".strip(), phase, {"model": folder, "data": rows[name]}, after)
        merge = Merge(model=config.model, tuning=phase.tuning)
        folder = Step(f"merge {name}".strip(), merge, {"model": folder, "tune": tune, "data": rows[name]})
        tested.append(_evaluate(config, "tuned" if name == last else name, "torch", folder, rows, model))
        if own := bounds.phases.get(name):
            gates.append(Step(f"gate {name}", Gate(bounds=dict(own)), {tested[-1].label: tested[-1]}))
            after = (gates[-1],)
    return rows, tested, folder, gates


def _encoded(config: Config, name: str, phase: Phase, model: Step) -> Step:
    """Return the step that encodes the rows of phase *name*, behind those from reading to selecting."""
    rows = Step(f"read {name}".strip(), ReadRows.of(phase.data))
    for option, clean in config.cleaning.items():
        cleaned = CleanRows.of(option, clean, config.model)
        needs = {"rows": rows} | ({"model": model} if clean.needs_tokenizer else {})
        rows = Step(f"clean {option} {name}".strip(), cleaned, needs)
    for option, select in config.selections.items():
        rows = Step(f"select {option} {name}".strip(), SelectRows.of(option, select), {"rows": rows})
    stage = EncodeRows.of(phase.data, config.model)
    return Step(f"encode {name}".strip(), stage, {"rows": rows, "model": model})


def _slots(rows: Rows) -> dict[str, Step]:
    """Return every phase's rows by slot; those of the last one, which also judge exports, are ``data``."""
    *earlier, last = rows
    return {**{f"data {name}": rows[name] for name in earlier}, "data": rows[last]}


def _evaluate(
    config: Config,
    candidate: str,
    engine: str,
    folder: Step,
    rows: Rows,
    model: Step,
    tuned: Step | None = None,
) -> Step:
    *earlier, _ = rows
    stage = Evaluate(candidate=candidate, engine=engine, model=config.model, evaluation=config.evaluation)
    if earlier:
        fields = {name: getattr(stage, name) for name in type(stage).model_fields}
        stage = EvaluatePhases(**fields, phases=tuple(earlier))
    needs = {"candidate": folder, **_slots(rows), "data_model": model}
    return Step(f"evaluate {candidate}", stage, needs | ({"tuned": tuned} if tuned else {}))


def _tune(
    config: Config,
    label: str,
    phase: Phase,
    needs: dict[str, Step],
    after: tuple[Step, ...],
    recovers: bool = False,
) -> Step:
    """Return the training of a phase, or of a compression, which *recovers*."""
    stage = Tune(
        model=config.model,
        tuning=phase.tuning,
        training=phase.training,
        parallelism=config.parallelism,
        device=config.environment.hardware.device,
        seed=config.seed,
        tracking=config.tracking,
        recovers=recovers,
    )
    return Step(label, stage, needs, after)


def _reshaped(
    config: Config, model: Step, rows: Rows, merge: Step, passed: Step
) -> tuple[dict[str, Step], list[Step]]:
    """Return the folder of each candidate that is made before the export, and their evaluations.

    They run after *passed*, the gate of the tuned model; no byte depends on its bounds.
    """
    folders: dict[str, Step] = {}
    tested, folder, data = [], merge, _slots(rows)["data"]
    tuned = passed.needs["evaluate tuned"]
    for label, option in config.reshapings.items():
        if option.reshapes:
            # The training settings change no bytes of the reshaped model.
            plain = {"training": type(option).model_fields["training"].default}
            stage = Reshape(compression=option.model_copy(update=plain), model=config.model)
            folder = Step(f"reshape {label}", stage, {"model": folder, "data": data}, (passed,))
        if option.tuning is not None and option.training is not None:
            needs = {"model": folder, "data": data}
            if option.taught:
                teacher = option.teacher_model and FetchModel(model=option.teacher_model, seed=config.seed)
                needs["teacher"] = Step(f"teacher {label}", teacher) if teacher else merge
            phase = Phase(data=config.data, tuning=option.tuning, training=option.training)
            tune = _tune(config, f"tune {label}", phase, needs, (passed,), recovers=True)
            merged = Merge(model=config.model, tuning=option.tuning)
            folder = Step(f"merge {label}", merged, {"model": folder, "tune": tune, "data": data})
        folders[label] = folder
        tested.append(_evaluate(config, label, "torch", folder, rows, model, tuned))
    return folders, tested


def _exported(
    config: Config,
    model: Step,
    rows: Rows,
    folders: dict[str, Step],
    passed: list[Step],
    bounds: GateBounds,
) -> dict[str, Step]:
    """Return every step after the quality gate, by label; the shipped one also as ``shipped``.

    Args:
        config: the whole config.
        model: the base model.
        rows: the data steps.
        folders: the Hugging Face folders by candidate; the last one is exported.
        passed: the steps that must succeed before the export.
        bounds: the recipe's bounds.
    """
    engine = config.export.engine_on(config.environment.hardware.device)
    data = _slots(rows)["data"]
    # Parity bounds change no bytes of an export: looser ones must not export again.
    exporter = config.export.model_copy(update={"parity": Parity()})
    source = list(folders.values())[-1]
    # The export waits for the gates; its bytes do not depend on their bounds.
    last = Step(f"export {REFERENCE}", ExportModel(export=exporter), {"model": source}, tuple(passed))
    candidates = {REFERENCE: last}
    for label, option in config.reductions.items():
        stage = Compress(compression=option, export=exporter, model=config.model)
        last = Step(f"compress {label}", stage, {"model": source, "exported": last, "data": data})
        candidates[label] = last
    judging = [*config.reductions] or [REFERENCE]
    tuned = passed[0].needs["evaluate tuned"]
    evaluated = [_evaluate(config, label, engine, candidates[label], rows, model, tuned) for label in judging]
    asked = config.export.parity
    extent = Parity(rows=asked.rows, generations=asked.generations, batched=asked.batched)
    parity_stage = CompareExports(
        parity=extent, task=config.model.task, engine=engine, candidates=tuple(candidates)
    )
    parity = Step("parity", parity_stage, {"model": source, "data": data, **candidates})
    engines = {**dict.fromkeys(folders, "torch"), **dict.fromkeys(candidates, engine)}
    measure = Measure(benchmark=config.benchmark, task=config.model.task, engines=engines)
    measured = Step("benchmark", measure, {**folders, **candidates})
    judged = {step.label: step for step in (*evaluated, parity, measured)}
    own = {step.label: step for step in passed[1:]}
    # Reshaped candidates are judged here too: they are made after the quality gate.
    defaults = default_bounds(config, *config.reshapings, *judging)
    gate_stage = Gate(bounds=dict(bounds.exported), defaults=defaults)
    gate = Step("gate export", gate_stage, judged | own)
    return {"shipped": last, **judged, gate.label: gate}
