"""The rules across groups: what cannot work together, each with the override that mends it.

Pure, like the plan that asks it; a group's own option knows nothing of the others.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from framework.build.stages.benchmark import Measure
from framework.build.stages.evaluate import METRIC_LOSS
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.parity import CompareExports
from framework.build.tuning import Tuning
from framework.config.schema import REFERENCE, Config
from framework.core.errors import SourceError
from framework.core.gates import flat_metric
from framework.core.source import Source
from framework.core.suggest import nearest
from framework.plan.rules.compression import (
    compression_cautions,
    compression_rules,
    in_each_recovery,
    plain_weight_rules,
)
from framework.plan.rules.deployment import deployment_rules
from framework.plan.rules.export import export_cautions, export_rules, install_rules
from framework.plan.rules.parallelism import elastic_rules, spread_rules, stage_rules


def broken_rules(config: Config) -> list[str]:
    """Return one line for every rule across groups that *config* breaks."""
    return [
        *_source_rules(config),
        *install_rules(config),
        *dict.fromkeys(_in_each_phase(config, export_rules)),  # the rows of every phase are evaluated
        *compression_rules(config),
        *_in_last_phase(config, plain_weight_rules),
        *_phase_rules(config),
        *_in_each_phase(config, _training_rules),
        *_in_each_phase(config, _tuning_rules),
        *_in_each_phase(config, spread_rules),
        *config.parallelism.problems(),
        *_in_each_phase(config, _batch_rules),
        *_in_each_phase(config, elastic_rules),
        *_in_each_phase(config, _kept_rules),
        *_in_each_phase(config, stage_rules),
        *in_each_recovery(config, _recovery_rules),
        *_in_last_phase(config, _unmerged_rules),
        *_gate_rules(config),
        *_in_last_phase(config, deployment_rules),
        *_launcher_rules(config),
        *_in_each_phase(config, _fit_rules),
    ]


def _launcher_rules(config: Config) -> list[str]:
    sources = [part for part in config.walk() if isinstance(part, Source)]
    try:
        return config.launcher.problems(
            config.publish.url, sources, not config.environment.allow_unpinned_image
        )
    except SourceError:
        return []  # a file that is not there at all, which _source_rules names


def _in_each_phase(config: Config, rules: Callable[[Config], list[str]]) -> list[str]:
    """Apply *rules* to every phase as if it were the whole recipe, and name its own keys in what they say."""
    found = [] if config.phases else rules(config)
    for name, phase in config.phases.items():
        found += [_within(name, line) for line in rules(config.during(phase))]
    return found


def _in_last_phase(config: Config, rules: Callable[[Config], list[str]]) -> list[str]:
    """Apply *rules* to what is exported: the recipe itself, or the last of its phases."""
    if not config.phases:
        return rules(config)
    name, phase = list(config.phases.items())[-1]
    return [_within(name, line) for line in rules(config.during(phase))]


def _within(phase: str, line: str) -> str:
    """Turn the keys in a rule's line into those of a phase, and a choice into a line of ``defaults``.

    >>> print(_within("task", "tuning.rank: too wide; set tuning.rank=8 or tuning=full"))
    phases.task.tuning.rank: too wide; set phases.task.tuning.rank=8 or '- /tuning@phases.task.tuning: full'
    """
    line = re.sub(r"(?<![\w.@/])(data|tuning|training)(?=\.[a-z]|:)", rf"phases.{phase}.\1", line)
    return re.sub(r"(?<![\w.@/])(data|tuning|training)=([\w-]+)", rf"'- /\1@phases.{phase}.\1: \2'", line)


def _phase_rules(config: Config) -> list[str]:
    found = []
    *earlier, _ = config.phases or ("",)
    for name in earlier:
        tuning = config.phases[name].tuning
        if not tuning.merges:
            found.append(
                f"phases.{name}.tuning: {type(tuning).__name__} does not merge into weights that the next "
                f"phase could go on from; choose '- /tuning@phases.{name}.tuning: lora' in 'defaults', or "
                "let this phase be the last"
            )
    return found


def _training_rules(config: Config) -> list[str]:
    found = []
    if config.training.precision == "fp16" and config.environment.hardware.device == "cpu":
        found.append("training.precision: fp16 needs a GPU; set training.precision=bf16")
    if config.training.gradient_checkpointing and not config.tuning.recomputes:
        found.append(
            "training.gradient_checkpointing: this tuning method cannot compute layers again; "
            "set training.gradient_checkpointing=false"
        )
    return found


def _batch_rules(config: Config) -> list[str]:
    training, parallelism = config.training, config.parallelism
    size, total = training.micro_batch_size, training.global_batch_size
    ranks = parallelism.data_parallel
    if size == "auto":
        if total is None:
            return ["training.micro_batch_size: auto needs the whole; set training.global_batch_size=32"]
        if parallelism.processes > 1:
            return [
                "training.micro_batch_size: auto is for one process; set training.micro_batch_size="
                f"{max(1, math.gcd(total, 8 * ranks) // ranks)}"
            ]
        return []
    if total is None:
        return []
    if training.gradient_accumulation_steps > 1:
        return [
            "training.global_batch_size: decides how much is accumulated; set "
            "training.gradient_accumulation_steps=1"
        ]
    if total % (size * ranks):
        fitting = max(1, round(total / (size * ranks))) * size * ranks
        return [
            f"training.global_batch_size: {total} rows are no whole number of micro batches of {size} on "
            f"{ranks} devices; set training.global_batch_size={fitting}"
        ]
    return []


def _recovery_rules(config: Config) -> list[str]:
    """Return what does not go with a training that a compression brings; no ``tuning`` option changes it."""
    rules = (_training_rules, spread_rules, _batch_rules, _kept_rules, stage_rules)
    found = [line.removesuffix(" or tuning=lora") for rule in rules for line in rule(config)]
    return [*found, *_fit_rules(config, tunings=False)]


def _kept_rules(config: Config) -> list[str]:
    """Name what keeps weights of its own beside the model's where it cannot, or nothing to choose them by."""
    training, found = config.training, []
    validation = training.validation
    best = validation.keep == "best"
    if (best or validation.patience is not None) and not validation.count(1000):
        what = "keep=best" if best else "patience"
        found.append(f"training.validation: {what} needs rows to measure; set training.validation.share=0.05")
    for key, used, off in (
        ("training.ema_decay", bool(training.ema_decay), "training.ema_decay=0"),
        ("training.validation.keep", best, "training.validation.keep=last"),
    ):
        if used and not config.parallelism.replicates:
            found.append(f"{key}: no process has the whole weights; set {off} or parallelism=ddp")
        if used and type(config.tuning).after_step is not Tuning.after_step:
            found.append(f"{key}: this tuning method changes its weights between steps; set {off}")
    if training.compile and config.parallelism.ways:
        found.append(
            "training.compile: layers that are spread over processes are not compiled; "
            "set training.compile=false"
        )
    if training.optimizer.endswith("-8bit") and config.parallelism.ways:
        plain = training.optimizer.removesuffix("-8bit")
        found.append(
            "training.optimizer: 8-bit states cannot be spread over processes; "
            f"set training.optimizer={plain}"
        )
    return found


def _tuning_rules(config: Config) -> list[str]:
    known, task = config.tuning.tasks, config.model.task
    trained = config.training.tasks
    if trained and task not in trained:
        trains = f"training: this option is for {', '.join(trained)}, the model is for {task}"
        return [f"{trains}; set training=supervised"]
    if not known or task in known:
        return []
    return [f"tuning: this method is for {', '.join(known)}, the model is for {task}; set tuning=lora"]


def _unmerged_rules(config: Config) -> list[str]:
    if config.tuning.merges or config.model.task in config.export.unmerged:
        return []
    none = " compression=none" if config.reshapings or config.reductions else ""
    return [
        "tuning: what this method trains cannot become part of the weights, which this exporter needs; "
        f"set export=transformers{none}, or a method that merges such as tuning=lora"
    ]


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
    task = config.model.task
    *earlier, _ = config.phases or ("",)
    held_out = EvaluatePhases.metrics(tuple(earlier), config.evaluation.metrics(task))
    exported = (*CompareExports.metrics(task), *Measure.metrics(task))
    measured = {**dict.fromkeys(("base", *earlier, "tuned"), held_out), REFERENCE: exported}
    timed = Measure.metrics(task)
    measured |= {label: (*held_out, METRIC_LOSS, *timed) for label in config.reshapings}
    judged = (*held_out, METRIC_LOSS, *exported)
    measured |= dict.fromkeys((config.shipped, *config.reductions), judged)
    found = []
    for name in config.gates:
        candidate, metric = flat_metric(name).split(".", 1)
        known = measured.get(candidate)
        if known is None:
            found.append(f"gates.{name}: no candidate '{candidate}'; there are {', '.join(measured)}")
        elif metric not in known:
            guess = nearest(metric, known)
            hint = f"did you mean '{guess}'?" if guess else f"measured are {', '.join(known)}"
            found.append(f"gates.{name}: no such metric for {task}; {hint}")
    return found


def _fit_rules(config: Config, tunings: bool = True) -> list[str]:
    from framework.plan.estimate import tune_memory

    hardware = config.environment.hardware
    limit = hardware.memory_gib * 2**30
    needed = tune_memory(config)
    if needed <= limit:
        return []
    said = f"training: needs about {needed / 2**30:.1f} GiB, environment.hardware.memory_gib is"
    return [f"{said} {hardware.memory_gib:g}; {_what_fits(config, limit, tunings)}"]


def _what_fits(config: Config, limit: float, tunings: bool) -> str:
    """Return the first of a few changes that brings the tune step under *limit* bytes."""
    from framework.build.tuning.lora import LoRA
    from framework.plan.estimate import tune_memory

    smaller: dict[str, Any] = {"micro_batch_size": 1}
    if config.training.global_batch_size is None:
        smaller["gradient_accumulation_steps"] = config.training.rows_a_step()
    batch = " ".join(f"training.{name}={value}" for name, value in smaller.items())
    training = config.training.model_copy(update=smaller)
    changes: list[tuple[str, dict[str, Any]]] = [(batch, {"training": training})]
    if tunings and not isinstance(config.tuning, LoRA):
        changes += [
            ("tuning=lora", {"tuning": LoRA()}),
            (f"tuning=lora {batch}", {"tuning": LoRA(), "training": training}),
        ]
    if tunings and config.tuning.weight_bytes() >= 4:
        changes.append(("tuning=qlora", {"tuning": LoRA(base_precision="nf4")}))
    if config.tuning.recomputes and not training.gradient_checkpointing:
        again = training.model_copy(update={"gradient_checkpointing": True})
        changes.append((f"{batch} training.gradient_checkpointing=true", {"training": again}))
    for text, update in changes:
        if tune_memory(config.model_copy(update=update)) <= limit:
            return f"it fits with {text}"
    return "choose a smaller model=<option> or a larger machine"


def cautions(config: Config) -> list[str]:
    """Return one line for everything that works but may surprise."""
    found = []
    for component in config.walk():
        if isinstance(component, Source) and not component.pinned:
            found.append(
                f"{component.url} is not pinned, so its bytes may change; "
                "give its sha256, which `run pin model=<option>` does for a model"
            )
    found += [*compression_cautions(config), *export_cautions(config)]
    served, task = config.serving.tasks, config.model.task
    if served and task not in served:
        found.append(f"serving: no server answers {task} yet; the release can be used, but not served")
    return list(dict.fromkeys(found))
