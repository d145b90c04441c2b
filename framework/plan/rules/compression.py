"""The rules of compression: which options go together, in which order, and with which model and export.

Pure, a part of ``framework.plan.rules``, which see.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from framework.build.compression import Compression, ExportCompression, ModelCompression
from framework.build.compression.sixteen_bit import GRAPHS
from framework.build.export import Export
from framework.config.schema import Config, Phase
from framework.core.paths import SHARE

FITTING = {
    "causal-lm": ("onnx-genai", "genai", "int4-weight"),
    "sequence-classification": ("onnx", "onnxruntime", "int8-dynamic"),
    "multi-label-classification": ("onnx", "onnxruntime", "int8-dynamic"),
    "token-classification": ("onnx", "onnxruntime", "int8-dynamic"),
    "seq2seq": ("transformers", "torch", "none"),
    "image-text-classification": ("transformers", "torch", "none"),
}
"""For each task the export option to suggest, its engine, and the compression option that suits it."""


def choice(names: Iterable[str]) -> str:
    """Return the override that chooses *names*.

    >>> choice(["int8-dynamic"]), choice(["distill", "int8-dynamic"]), choice([])
    ('compression=int8-dynamic', 'compression=[distill,int8-dynamic]', 'compression=none')
    """
    several = [*names] or ["none"]
    return f"compression={several[0] if len(several) == 1 else '[' + ','.join(several) + ']'}"


def compression_rules(config: Config) -> list[str]:
    """Return one line for each compression that cannot be done, or not where it stands."""
    found = []
    for name, option in config.compression.items():
        if option.impossible:
            found.append(f"compression.{name}: {option.impossible}")
        elif option.changes_nothing and len(config.compression) > 1:
            rest = choice(other for other in config.compression if other != name)
            found.append(f"compression.{name}: stands for no compression; set {rest}")
        elif option.tasks and config.model.task not in option.tasks:
            found.append(
                f"compression.{name}: this method is for {', '.join(option.tasks)}, the model is for "
                f"{config.model.task}; set {_without(config, name)}"
            )
        elif isinstance(option, ExportCompression) and (lines := _export_rule(config, name, option)):
            found += lines
        elif isinstance(option, ModelCompression):
            lines = option.problems(config.model, config.parallelism)
            found += [f"compression.{name}.{line}" for line in lines]
    rules = (_order_rules, _undone_rules, _twice_rules, _label_rules)
    return [*found, *(line for rule in rules for line in rule(config))]


def plain_weight_rules(config: Config) -> list[str]:
    """Return one line for each compression that needs weights to which nothing was added."""
    return [
        f"compression.{name}: changes plain weights, and this tuning method keeps its own beside them; "
        "set tuning=lora"
        for name, option in config.compression.items()
        if option.plain_weights and not config.tuning.merges
    ]


def _without(config: Config, name: str) -> str:
    return choice(other for other in config.compression if other != name)


def _export_rule(config: Config, name: str, option: ExportCompression) -> list[str]:
    export, task = config.export, config.model.task
    engines = (export.engine, export.engine_on(config.environment.hardware.device))
    unable = [engine for engine in engines if engine not in option.exports]
    if not option.exports or not unable or task not in export.tasks:
        return []
    engine = unable[0]
    _, suited, smaller = FITTING[task]
    others = [other for other in config.compression if other != name]
    changes = [f"export={each}" for each in _exports_for(config)]
    if export.engine == suited and smaller != "none" and smaller not in others:
        changes.append(choice(smaller if other == name else other for other in config.compression))
    changes.append(_without(config, name))
    return [
        f"compression.{name}: works on exports for {', '.join(option.exports)}, this one is for {engine}; "
        f"set {' or '.join(changes)}"
    ]


def _exports_for(config: Config) -> list[str]:
    """Return the export options that suit the model's task and every compression that is chosen."""
    # Reads every option of the group, which only a plan that cannot run has to wait for.
    from framework.config.jsonschema import options

    wanted = [set(each.exports) for each in config.reductions.values() if each.exports]
    device = config.environment.hardware.device
    return [
        name
        for name, cls in options("export", (SHARE,)).items()
        if cls is not None
        and issubclass(cls, Export)
        and config.model.task in cls.tasks
        and all({cls.engine, cls.model_construct().engine_on(device)} <= engines for engines in wanted)
    ]


def _order_rules(config: Config) -> list[str]:
    """Name an option that changes the model but stands behind one that changes what was exported."""
    names = [name for name, option in config.compression.items() if not option.changes_nothing]
    first = [name for name in names if isinstance(config.compression[name], ModelCompression)]
    right = [*first, *(name for name in names if name not in first)]
    if names == right:
        return []
    wrong = next(name for name, fitting in zip(names, right, strict=True) if name != fitting)
    return [
        f"compression.{wrong}: works on what was exported, so it comes after those that change the model; "
        f"set {choice(right)}"
    ]


def _undone_rules(config: Config) -> list[str]:
    """Name what a later option's training would undo."""
    found = []
    options = {key: each for key, each in config.compression.items() if isinstance(each, ModelCompression)}
    for place, (name, option) in enumerate(options.items()):
        for later in [*options][place + 1 :]:
            if option.undone_by_training and options[later].training is not None:
                right = [each for each in config.compression if each != name]
                if not options[later].undone_by_training:  # else the two do not go together at all
                    right.insert(right.index(later) + 1, name)
                found.append(
                    f"compression.{name}: the training of compression.{later} would undo "
                    f"{option.undone_by_training}; set {choice(right)}"
                )
                break
    return found


def _twice_rules(config: Config) -> list[str]:
    """Name an option that would quantise, or make floats of, what another one has quantised before."""
    options = {key: each for key, each in config.compression.items() if isinstance(each, ExportCompression)}
    first = next((name for name, option in options.items() if option.bits <= 8), None)
    if first is None:
        return []
    # In a graph a cast leaves integers alone; other exports are cast whole, or are written anew.
    after = [*options][[*options].index(first) + 1 :]
    return [
        f"compression.{name}: compression.{first} has made integers of the weights before; "
        f"set {_without(config, name)}"
        for name in after
        if options[name].bits <= 8 or config.export.engine not in GRAPHS
    ]


def _label_rules(config: Config) -> list[str]:
    """Name what would be one candidate under two names, or called like a phase."""
    found = []
    for label, times in Counter(option.label for option in config.compression.values()).items():
        same = [name for name, option in config.compression.items() if option.label == label]
        if times > 1:
            found.append(
                f"compression.{same[-1]}: makes the candidate '{label}', as compression.{same[0]} does; "
                f"set {_without(config, same[-1])}"
            )
        if label in config.phases:
            found.append(f"phases.{label}: the compressed candidate is called so too; rename the phase")
    return found


def compression_cautions(config: Config) -> list[str]:
    """Return one line for each compression that works, but not as one may think."""
    found, options = [], list(config.compression.items())
    for place, (name, option) in enumerate(options):
        if isinstance(option, ModelCompression):
            before, after = ([each for _, each in part] for part in (options[:place], options[place + 1 :]))
            found += [f"compression.{name}.{line}" for line in option.cautions(before, after)]
    return found


def in_each_recovery(config: Config, rules: Callable[[Config], list[str]]) -> list[str]:
    """Apply *rules* to the training of each compression that has one, as if it were the whole recipe."""
    found = []
    data = [*config.phases.values()][-1].data if config.phases else config.data
    for name, option in config.compression.items():
        if isinstance(option, ModelCompression) and option.tuning is not None and option.training is not None:
            phase = Phase(data=data, tuning=option.tuning, training=option.training)
            found += [_within(name, line) for line in rules(config.during(phase))]
    return found


def _within(name: str, line: str) -> str:
    """Turn the keys of ``training`` in a rule's line into those of the compression *name*.

    >>> print(_within("distill", "training.precision: fp16 needs a GPU; set training.precision=bf16"))
    compression.distill.training.precision: fp16 needs a GPU; set compression.distill.training.precision=bf16
    """
    return re.sub(r"(?<![\w.@/])training(?=\.[a-z]|:)", f"compression.{name}.training", line)


def suggestion(config: Config, compressions: dict[str, Compression]) -> str:
    """Return the overrides that choose an export for the model's task, and compressions that suit it."""
    name, engine, smaller = FITTING[config.model.task]
    unfit = [
        key
        for key, option in compressions.items()
        if isinstance(option, ExportCompression) and option.exports and engine not in option.exports
    ]
    if not unfit:
        return f"export={name}"
    rest = [smaller if key == unfit[0] else key for key in compressions if key not in unfit[1:]]
    return f"export={name} {choice(key for key in rest if key != 'none')}"
