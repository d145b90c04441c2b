"""The rules of deployment targets: which export, task and tuning method each of them serves."""

from framework.build.task import open_task
from framework.config.schema import Config
from framework.core.problem import Problem
from framework.manifests.identity import SHARED
from framework.plan.rules.tuning import unsupported_task

_ANY_TARGET = "deployment=kubernetes"


def deployment_rules(config: Config) -> list[Problem]:
    """Return what the chosen target cannot serve, or not as it is configured."""
    target, task = config.deployment, config.model.task
    delivery = config.delivery
    if config.name == SHARED:
        reason = f"'{SHARED}' is the folder of objects that several releases use"
        return [Problem("name", reason, ("name=<name>",))]
    problems = [*target.problems(delivery), *target.size_problems(_least_bytes(config), delivery)]
    problems += target.store_problems(config.publish.url, delivery)
    if target.tasks and task not in target.tasks:
        return [*problems, Problem("deployment", unsupported_task(target.tasks, task), (_ANY_TARGET,))]
    problems += [*_engine_rules(config), *_shape_rules(config)]
    if not target.takes_adapters and not config.tuning.merges:
        reason = f"{type(config.tuning).__name__} does not merge, and this target serves merged weights only"
        problems.append(Problem("deployment", reason, ("tuning=lora", _ANY_TARGET)))
    return problems


def gpu_override(config: Config) -> str:
    """Return the overrides that give the pods a GPU, and an autoscaler that fits them."""
    scaling = config.autoscaling if config.deployment.synced else None
    broken = scaling.problems(config.monitoring, config.environment, gpus=1) if scaling else []
    return " ".join(["deployment.gpus=1", *(problem.overrides[0] for problem in broken)])


def _least_bytes(config: Config) -> float:
    """Return the least bytes that the published weights can have; rendering knows the real size."""
    if config.reshapings:  # they can remove any number of weights
        return 0.0
    bits = min([16, *(option.bits for option in config.reductions.values())])
    return config.model.parameters * bits / 8


def _engine_rules(config: Config) -> list[Problem]:
    """Return an export for an engine, or by a library, that the target does not run."""
    target, export = config.deployment, config.export
    if target.engines and export.engine not in target.engines:
        reason = f"this target runs {' or '.join(target.engines)}; the export is for {export.engine}"
        return [Problem("deployment", reason, (target.remedy, _ANY_TARGET))]
    library = target.libraries.get(export.engine, export.library)
    if export.library != library:
        reason = f"this deployment opens engines of {library}, not of {export.library}"
        return [Problem("export.runtime", reason, (f"export.runtime={library}", target.remedy))]
    return []


def _shape_rules(config: Config) -> list[Problem]:
    """Return what the target would send to a compiled engine that accepts other shapes."""
    target, shapes, serving = config.deployment, config.export.shapes, config.serving
    if shapes is None:
        return []
    problems = []
    if target.batches and serving.max_batch_size > shapes.max_batch:
        key, most = "serving.max_batch_size", shapes.max_batch
        reason = f"the engine accepts at most {most} rows per call, got {serving.max_batch_size}"
        problems.append(Problem(key, reason, (f"{key}={most}",)))
    tokens = target.warmup_row
    if tokens is not None and not shapes.min_length <= tokens <= shapes.max_length:
        key, most = "deployment.warmup_tokens", shapes.max_length
        reason = f"the engine accepts rows of {shapes.min_length} to {most} tokens, got {tokens}"
        problems.append(Problem(key, reason, (f"{key}={most}",)))
    return problems


def serving_cautions(config: Config) -> list[Problem]:
    """Return a server that does not support the model's task."""
    task = config.model.task
    if config.serving.reads_images or not open_task(task).reads_images:
        return []
    return [Problem("serving", f"no server supports {task} yet; the release can be used, but not served")]
