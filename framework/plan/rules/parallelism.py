"""The rules of parallelism: what does not work with a model that is sharded over processes."""

from framework.build.parallelism import Way
from framework.config.schema import Config
from framework.core.problem import Problem

_SHARDED: dict[Way, str] = {
    "optimizer": "sharded gradients",
    "sharded": "sharded weights",
    "tensor": "tensor parallelism",
    "layers": "pipeline stages",
}


def sharding_rules(config: Config) -> list[Problem]:
    """Return what cannot be trained with the weights, gradients or layers of the chosen layout."""
    layout, tuning, problems = config.parallelism, config.tuning, []
    unsupported = sorted(layout.ways - tuning.spreads)
    if unsupported:
        alternative = "ddp"
        if "optimizer" in tuning.spreads & layout.ways:
            alternative = "deepspeed-2"
        if unsupported == ["tensor"] and "sharded" in tuning.spreads:
            alternative = "fsdp2"
        problems.append(
            Problem(
                "parallelism",
                f"{type(tuning).__name__} does not support {_SHARDED[unsupported[0]]}",
                (f"parallelism={alternative}", "tuning=lora"),
            )
        )
    if config.training.precision == "fp16" and layout.ways & {"sharded", "tensor", "layers"}:
        reason = "fp16 loss scaling requires unsharded weights"
        problems.append(Problem("training.precision", reason, ("training.precision=bf16",)))
    return problems


def pipeline_rules(config: Config) -> list[Problem]:
    """Return what does not work with layers that are split into pipeline stages."""
    layout, training = config.parallelism, config.training
    if not layout.whole_steps:
        return []
    problems = []
    if layout.tasks and config.model.task not in layout.tasks:
        reason = f"pipeline stages do not support {config.model.task}"
        problems.append(Problem("parallelism", reason, ("parallelism=ddp",)))
    problems += _stage_count_rules(config)
    # A teacher has a rule of its own, in the compression that brings it.
    if not training.pipelines and not training.taught:
        reason = f"{type(training).__name__} cannot compute its loss in pipeline stages"
        problems.append(Problem("training", reason, ("parallelism=ddp",)))
    if training.neftune_alpha:
        reason = "NEFTune noise is not supported in pipeline stages"
        problems.append(Problem("training.neftune_alpha", reason, ("training.neftune_alpha=0",)))
    if training.validation.count(1000):
        off = "training.validation.share=0 training.validation.rows=0"
        reason = "validation is not supported in pipeline stages"
        problems.append(Problem("training.validation", reason, (off,)))
    return problems


def _stage_count_rules(config: Config) -> list[Problem]:
    training, ranks = config.training, config.parallelism.data_parallel
    size, stages = training.least_micro_batch_size, config.parallelism.least_micro_batches
    micro_batches = training.sized(size, ranks).gradient_accumulation_steps
    if micro_batches >= stages:
        return []
    change = f"training.gradient_accumulation_steps={stages}"
    if training.global_batch_size is not None:
        change = f"training.global_batch_size={size * stages * ranks}"
    return [
        Problem(
            "training.gradient_accumulation_steps",
            f"{stages} pipeline stages require at least {stages} micro batches per step, got {micro_batches}",
            (change,),
        )
    ]
