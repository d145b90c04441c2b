"""The rules of compression: which options work together, in which order, and with which model and export."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from framework.build.compression import Compression, ExportCompression, ModelCompression
from framework.build.compression.sixteen_bit import GRAPHS
from framework.build.export import Export
from framework.build.task import open_task
from framework.config.schema import Config
from framework.core.paths import SHARE
from framework.core.problem import Problem
from framework.core.step import installed
from framework.plan.rules.choice import choice
from framework.plan.rules.deployment import gpu_override
from framework.plan.rules.tuning import unsupported_task


def _chosen(names: Iterable[str]) -> str:
    return choice("compression", names)


def without(config: Config, name: str) -> str:
    """Return the override that chooses every compression of *config* except *name*."""
    return _chosen(other for other in config.compression if other != name)


def compression_rules(config: Config) -> list[Problem]:
    """Return each compression that cannot be applied, or not at its position."""
    problems = [
        problem
        for name, option in config.compression.items()
        for problem in _option_rules(config, name, option)
    ]
    rules = (_order_rules, _undone_rules, _quantized_twice_rules, _label_rules)
    return [*problems, *(problem for rule in rules for problem in rule(config))]


def _option_rules(config: Config, name: str, option: Compression) -> list[Problem]:
    key = f"compression.{name}"
    if option.impossible:
        return [replace(option.impossible, key=key)]
    if option.changes_nothing and len(config.compression) > 1:
        return [Problem(key, "cannot be combined with other compressions", (without(config, name),))]
    if option.tasks and config.model.task not in option.tasks:
        reason = unsupported_task(option.tasks, config.model.task)
        return [Problem(key, reason, (without(config, name),))]
    if isinstance(option, ExportCompression):
        return _export_rules(config, name, option)
    if isinstance(option, ModelCompression) and open_task(config.model.task).embeds:
        reason = f"measures or trains with labels; the model's task is {config.model.task}"
        return [Problem(key, reason, (without(config, name),))]
    if isinstance(option, ModelCompression):
        fields = [*type(option).model_fields]
        return [problem.below(key, fields) for problem in option.problems(config.model, config.parallelism)]
    return []


def plain_weight_rules(config: Config) -> list[Problem]:
    """Return each compression that needs weights without an adapter beside them."""
    reason = f"requires merged weights, and {type(config.tuning).__name__} does not merge"
    return [
        Problem(f"compression.{name}", reason, ("tuning=lora",))
        for name, option in config.compression.items()
        if option.plain_weights and not config.tuning.merges
    ]


def _export_rules(config: Config, name: str, option: ExportCompression) -> list[Problem]:
    export, task = config.export, open_task(config.model.task)
    engines = (export.engine, export.engine_on(config.environment.hardware.device))
    unsupported = [engine for engine in engines if engine not in option.exports]
    if not option.exports or not unsupported or task.name not in export.tasks:
        return []
    smaller = task.suggested_compression
    others = [other for other in config.compression if other != name]
    changes = _suitable_exports(config)
    if export.engine == task.suggested_engine and smaller != "none" and smaller not in others:
        changes.append(_chosen(smaller if other == name else other for other in config.compression))
    changes.append(without(config, name))
    supported = ", ".join(option.exports)
    reason = f"supports exports for {supported}; this export is for {unsupported[0]}"
    return [Problem(f"compression.{name}", reason, tuple(changes))]


def _suitable_exports(config: Config) -> list[str]:
    """Return overrides that choose an export for the model's task and every chosen compression."""
    # Imports every option of the group, which is slow; only a plan that cannot run needs it.
    from framework.config.jsonschema import option_classes

    supported = [set(option.exports) for option in config.reductions.values() if option.exports]
    supported += [{*config.deployment.engines}] if config.deployment.engines else []
    device = config.environment.hardware.device
    overrides = []
    for name, cls in option_classes("export", (SHARE,)).items():
        if cls is None or not issubclass(cls, Export) or config.model.task not in cls.tasks:
            continue
        export = cls.model_construct()
        suits = all({cls.engine, export.engine_on(device)} <= engines for engines in supported)
        if suits and all(installed(distribution) for distribution in export.requires()):
            gpu = f" {gpu_override(config)}" if cls.needs_gpu and not config.deployment.gpus else ""
            overrides.append(f"export={name}{gpu}")
    return overrides


def _order_rules(config: Config) -> list[Problem]:
    """Return a compression of the model that follows one of the export."""
    names = [name for name, option in config.compression.items() if not option.changes_nothing]
    of_model = [name for name in names if isinstance(config.compression[name], ModelCompression)]
    ordered = [*of_model, *(name for name in names if name not in of_model)]
    misplaced = [name for name, right in zip(names, ordered, strict=True) if name != right]
    reason = "compresses the exported model, so it has to follow those that change the model itself"
    return [Problem(f"compression.{name}", reason, (_chosen(ordered),)) for name in misplaced[:1]]


def _undone_rules(config: Config) -> list[Problem]:
    """Return each compression that the training of a later one would undo."""
    problems = []
    options = {
        name: option for name, option in config.compression.items() if isinstance(option, ModelCompression)
    }
    for position, (name, option) in enumerate(options.items()):
        following = [*options][position + 1 :]
        later = next((other for other in following if options[other].training is not None), None)
        if not option.undone_by_training or later is None:
            continue
        fixed = [other for other in config.compression if other != name]
        if not options[later].undone_by_training:  # otherwise the two cannot be combined at all
            fixed.insert(fixed.index(later) + 1, name)
        reason = f"the training of compression.{later} would undo {option.undone_by_training}"
        problems.append(Problem(f"compression.{name}", reason, (_chosen(fixed),)))
    return problems


def _quantized_twice_rules(config: Config) -> list[Problem]:
    """Return each compression that quantizes quantized weights, or casts them back to floats."""
    bits = {
        name: option.bits
        for name, option in config.compression.items()
        if isinstance(option, ExportCompression)
    }
    first = next((name for name in bits if bits[name] <= 8), None)
    if first is None:
        return []
    # In a graph a cast leaves integers alone; other exports are cast completely, or written anew.
    casts = config.export.engine not in GRAPHS
    return [
        Problem(
            f"compression.{name}",
            f"compression.{first} has already quantized the weights",
            (without(config, name),),
        )
        for name in [*bits][[*bits].index(first) + 1 :]
        if bits[name] <= 8 or casts
    ]


def _label_rules(config: Config) -> list[Problem]:
    """Return each candidate that two compressions, or a compression and a phase, would name alike."""
    problems = []
    for label, count in Counter(option.label for option in config.compression.values()).items():
        names = [name for name, option in config.compression.items() if option.label == label]
        if count > 1:
            reason = f"compression.{names[0]} already makes the candidate '{label}'"
            problems.append(Problem(f"compression.{names[-1]}", reason, (without(config, names[-1]),)))
        if label in config.phases:
            reason = "a compressed candidate already has this name"
            problems.append(Problem(f"phases.{label}", reason, advice="rename the phase"))
    return problems


def compression_cautions(config: Config) -> list[Problem]:
    """Return each compression that works, but may not do what is expected."""
    problems, options = [], [*config.compression.values()]
    for position, (name, option) in enumerate(config.compression.items()):
        if isinstance(option, ModelCompression):
            cautions = option.cautions(options[:position], options[position + 1 :])
            fields = [*type(option).model_fields]
            problems += [caution.below(f"compression.{name}", fields) for caution in cautions]
    return problems


def suggestion(config: Config) -> str:
    """Return the overrides that choose an export for the model's task, and compressions for that export."""
    task = open_task(config.model.task)
    unsupported = [
        name
        for name, option in config.compression.items()
        if isinstance(option, ExportCompression)
        and option.exports
        and task.suggested_engine not in option.exports
    ]
    if not unsupported:
        return f"export={task.suggested_export}"
    kept = [
        task.suggested_compression if name == unsupported[0] else name
        for name in config.compression
        if name not in unsupported[1:]
    ]
    return f"export={task.suggested_export} {_chosen(name for name in kept if name != 'none')}"
