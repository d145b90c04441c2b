"""The rule of memory: training has to fit the machine that the plan is for."""

from collections.abc import Iterator
from typing import Any

from framework.build.tuning.lora import LoRA
from framework.config.schema import Config
from framework.core.problem import Problem, overridden_groups
from framework.plan.estimate import tune_memory

_GIB = 2**30


def memory_rules(config: Config) -> list[Problem]:
    """Return that training needs more memory than there is, and what fits.

    That is the first change that does, and the first that does with the same tuning method.
    """
    memory_gib = config.environment.hardware.memory_gib
    required = tune_memory(config)
    if required <= memory_gib * _GIB:
        return []
    reason = f"needs about {required / _GIB:.1f} GiB; environment.hardware.memory_gib is {memory_gib:g}"
    fitting = [
        override
        for override, update in _smaller(config)
        if tune_memory(config.model_copy(update=update)) <= memory_gib * _GIB
    ]
    if not fitting:
        return [Problem("training", reason, advice="choose a smaller model=<option> or a larger machine")]
    same_method = [override for override in fitting if "tuning" not in overridden_groups(override)]
    return [Problem("training", reason, tuple(dict.fromkeys([*fitting[:1], *same_method[:1]])))]


def _smaller(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield changes that need less memory: the override and the same as an update of *config*."""
    training = config.training
    least = training.least_rows
    sizes: dict[str, Any] = {"micro_batch_size": least}
    if training.global_batch_size is None:
        sizes["gradient_accumulation_steps"] = max(training.rows_a_step() // least, 1)
    batch = " ".join(f"training.{name}={value}" for name, value in sizes.items())
    training = training.model_copy(update=sizes)
    yield batch, {"training": training}
    lora, parameters = LoRA(), config.model.parameters
    if config.tuning.trainable(parameters) > lora.trainable(parameters):
        yield "tuning=lora", {"tuning": lora}
        yield f"tuning=lora {batch}", {"tuning": lora, "training": training}
    if config.tuning.weight_bytes() >= 4:
        yield "tuning=qlora", {"tuning": LoRA(base_precision="nf4")}
    if config.tuning.recomputes and not training.gradient_checkpointing:
        recomputing = training.model_copy(update={"gradient_checkpointing": True})
        yield f"{batch} training.gradient_checkpointing=true", {"training": recomputing}
