"""The rules of exports: which model and machine they go with, and what has to be installed.

Pure, a part of ``framework.plan.rules``, which see.
"""

from framework.config.schema import Config
from framework.core.component import components
from framework.core.step import installed
from framework.plan.rules.compression import suggestion


def export_rules(config: Config) -> list[str]:
    """Return what the chosen export cannot do with this model, these rows and this machine."""
    task, export = config.model.task, config.export
    if export.impossible and task in export.tasks:
        return [f"export: {export.impossible}"]
    if task in export.tasks:
        found = export.problems(config.environment.hardware.device, config.data.max_length)
        if export.needs_gpu and not config.deployment.gpus:
            found.append(
                f"deployment.gpus: {export.engine} runs on a GPU alone, and the pods have none; "
                "set deployment.gpus=1"
            )
        return found
    return [
        f"export: this exporter is for {', '.join(export.tasks)}, the model is for {task}; "
        f"set {suggestion(config, config.compression)}"
    ]


def install_rules(config: Config) -> list[str]:
    """Name every optional package that an option works with and that is not installed."""
    wanted = [
        (group, component.requires())
        for group in type(config).model_fields
        for component in components(getattr(config, group))
    ]
    engine = config.export.engine
    wanted += [("compression", option.requires_for(engine)) for option in config.reductions.values()]
    found = [
        f"{group}: needs {distribution}; pip install 'gitune[{extra}]'"
        for group, named in wanted
        for distribution, extra in named.items()
        if not installed(distribution)
    ]
    return list(dict.fromkeys(found))


def export_cautions(config: Config) -> list[str]:
    """Return what is to be known of an export that this machine can make, but not run."""
    device, export = config.environment.hardware.device, config.export
    judge = export.engine_on(device)
    if judge == export.engine:
        return []
    return [
        f"export: environment.hardware.device={device} runs no {export.engine} engine; it is built, "
        f"and {judge} evaluates, compares and times the graph that it is built of"
    ]
