"""The rules of training: precision, recomputation, and the copies of the weights that it keeps."""

from framework.config.schema import Config
from framework.core.problem import Problem


def training_rules(config: Config) -> list[Problem]:
    """Return what the device or the tuning method cannot train with."""
    problems = []
    if config.training.precision == "fp16" and config.environment.hardware.device == "cpu":
        problems.append(
            Problem("training.precision", "fp16 requires a GPU", ("training.precision=bf16",)),
        )
    if config.training.gradient_checkpointing and not config.tuning.recomputes:
        problems.append(
            Problem(
                "training.gradient_checkpointing",
                f"{type(config.tuning).__name__} does not support gradient checkpointing",
                ("training.gradient_checkpointing=false",),
            )
        )
    return problems


def weight_copy_rules(config: Config) -> list[Problem]:
    """Return what needs validation rows, whole weights, or weights that only the optimizer changes."""
    training, layout = config.training, config.parallelism
    validation = training.validation
    best = validation.keep == "best"
    problems = []
    if (best or validation.patience is not None) and not validation.count(1000):
        setting = "keep=best" if best else "patience"
        problems.append(
            Problem(
                "training.validation",
                f"{setting} requires validation rows",
                ("training.validation.share=0.05",),
            )
        )
    copies = (
        ("training.ema_decay", bool(training.ema_decay), "training.ema_decay=0"),
        ("training.validation.keep", best, "training.validation.keep=last"),
    )
    for key, used, off in copies:
        if used and not layout.replicates:
            reason = "not supported with sharded weights: no process has all of them"
            problems.append(Problem(key, reason, (off, "parallelism=ddp")))
        if used and config.tuning.changes_weights_between_steps:
            reason = f"{type(config.tuning).__name__} changes weights between optimizer steps"
            problems.append(Problem(key, reason, (off,)))
    if training.compile and layout.ways:
        reason = "sharded layers are not compiled"
        problems.append(Problem("training.compile", reason, ("training.compile=false",)))
    if training.optimizer.endswith("-8bit") and layout.ways:
        plain = training.optimizer.removesuffix("-8bit")
        reason = "8-bit optimizer states cannot be sharded"
        problems.append(Problem("training.optimizer", reason, (f"training.optimizer={plain}",)))
    return problems
