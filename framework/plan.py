"""The plan: a config as a graph of steps, and the rules that span groups.

Pure: it reads local files' hashes and library versions for the keys, and writes nothing. Whether a
step is built already, the store knows; what it will cost, ``framework.estimate``.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from framework.config.schema import Config
from framework.core.errors import PlanError, SourceError
from framework.core.source import Source
from framework.core.step import Step
from framework.core.words import nearest
from framework.evaluation import Bound
from framework.export import Parity
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

REFERENCE = "fp32"
"""The candidate that is exported without compression."""


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
    return Plan(tuple(publish.walk()), tuple(_warnings(config)))


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


def broken_rules(config: Config) -> list[str]:
    """Return one line for every rule across groups that *config* breaks."""
    return [
        *_source_rules(config),
        *_task_rules(config),
        *_gate_rules(config),
        *config.deployment.problems(config.environment),
        *_fit_rules(config),
    ]


_FITTING = {
    "causal-lm": ("onnx-genai", "genai", "int4-weight"),
    "sequence-classification": ("onnx", "onnxruntime", "int8-dynamic"),
}
"""For each task the export option to suggest, its engine, and the compression option that suits it."""


def _task_rules(config: Config) -> list[str]:
    task, export, compression = config.model.task, config.export, config.compression
    name, engine, smaller = _FITTING[task]
    suits = not compression.exports or engine in compression.exports
    found = []
    if task not in export.tasks:
        change = f"export={name}" if suits else f"export={name} compression={smaller}"
        found.append(
            f"export: this exporter is for {', '.join(export.tasks)}, the model is for {task}; set {change}"
        )
    elif compression.exports and export.engine not in compression.exports:
        found.append(
            f"compression: {compression.label} works on exports for {', '.join(compression.exports)}, "
            f"this one is for {export.engine}; set compression={smaller} or compression=none"
        )
    if config.training.precision == "fp16" and config.environment.hardware.device == "cpu":
        found.append("training.precision: fp16 needs a GPU; set training.precision=bf16")
    return found


def _source_rules(config: Config) -> list[str]:
    """Name every local file that is not there or has another sha256 than the config gives."""
    found = []
    for component in config.walk():
        if isinstance(component, Source) and component.local:
            try:
                component.fingerprint()
            except SourceError as error:
                found.append(str(error))
    return list(dict.fromkeys(found))


def _gate_rules(config: Config) -> list[str]:
    """Name every gate on a metric or candidate that no step measures."""
    task, shipped = config.model.task, config.compression.label
    held_out = config.evaluation.metrics(task)
    exported = (*CompareExports.metrics(task), *Measure.metrics(task))
    measured = {"base": held_out, "tuned": held_out, REFERENCE: exported}
    measured[shipped] = (*held_out, *exported)
    found = []
    for name in config.gates:
        candidate, metric = name.split(".", 1) if "." in name else ("tuned", name)
        known = measured.get(candidate)
        if known is None:
            found.append(f"gates.{name}: no candidate '{candidate}'; there are {', '.join(measured)}")
        elif metric not in known:
            guess = nearest(metric, known)
            hint = f"did you mean '{guess}'?" if guess else f"measured are {', '.join(known)}"
            found.append(f"gates.{name}: no such metric for {task}; {hint}")
    return found


def _fit_rules(config: Config) -> list[str]:
    from framework.estimate import tune_memory

    hardware = config.environment.hardware
    limit = hardware.memory_gib * 2**30
    needed = tune_memory(config)
    if needed <= limit:
        return []
    said = f"training: needs about {needed / 2**30:.1f} GiB, environment.hardware.memory_gib is"
    return [f"{said} {hardware.memory_gib:g}; {_what_fits(config, limit)}"]


def _what_fits(config: Config, limit: float) -> str:
    """Return the first of a few changes that brings the tune step under *limit* bytes."""
    from framework.estimate import tune_memory
    from framework.tuning.lora import LoRA

    steps = config.training.micro_batch_size * config.training.gradient_accumulation_steps
    smaller: dict[str, Any] = {"micro_batch_size": 1, "gradient_accumulation_steps": steps}
    batch = " ".join(f"training.{name}={value}" for name, value in smaller.items())
    training = config.training.model_copy(update=smaller)
    changes: list[tuple[str, dict[str, Any]]] = [(batch, {"training": training})]
    if not isinstance(config.tuning, LoRA):
        changes += [
            ("tuning=lora", {"tuning": LoRA()}),
            (f"tuning=lora {batch}", {"tuning": LoRA(), "training": training}),
        ]
    for text, update in changes:
        if tune_memory(config.model_copy(update=update)) <= limit:
            return f"it fits with {text}"
    return "choose a smaller model=<option> or a larger machine"


def _warnings(config: Config) -> list[str]:
    found = []
    for component in config.walk():
        if isinstance(component, Source) and not component.pinned:
            found.append(
                f"{component.url} is not pinned, so its bytes may change; "
                "give its sha256, which `run pin model=<option>` does for a model"
            )
    return list(dict.fromkeys(found))
