"""The rules of layouts: what does not go with a model that is spread over processes.

Pure, a part of ``framework.plan.rules``, which see.
"""

import math

from framework.build.training.supervised import Supervised
from framework.config.schema import Config


def stage_rules(config: Config) -> list[str]:
    """Return one line for each choice that does not go with layers that lie in several processes."""
    if not config.parallelism.whole_steps:
        return []
    training, least = config.training, config.parallelism.least_micro_batches
    parts = training.sized(
        training.least_micro_batch_size, config.parallelism.data_parallel
    ).gradient_accumulation_steps
    found = []
    if config.model.task != "causal-lm":
        found.append(
            f"parallelism: rows for {config.model.task} cannot pass between stages; set parallelism=ddp"
        )
    if parts < least:
        change = f"training.gradient_accumulation_steps={least}"
        if training.global_batch_size is not None:
            ranks = config.parallelism.data_parallel
            change = f"training.global_batch_size={training.least_micro_batch_size * least * ranks}"
        found.append(
            f"training.gradient_accumulation_steps: {parts} micro batches cannot keep {least} stages at "
            f"work; set {change}"
        )
    pairs = isinstance(training, Supervised) and type(training).objective is not Supervised.objective
    if pairs and not training.taught:  # what a teacher cannot do, a compression says itself
        found.append("training: pairs of answers cannot pass between stages; set parallelism=ddp")
    if training.neftune_alpha:
        found.append("training.neftune_alpha: has no noise for stages; set training.neftune_alpha=0")
    if training.validation.count(1000):
        found.append(
            "training.validation: rows are not measured across stages; set training.validation.share=0 "
            "training.validation.rows=0"
        )
    return found


def elastic_rules(config: Config) -> list[str]:
    """Return what keeps a step's rows from being shared out evenly over fewer machines."""
    layout, training = config.parallelism, config.training
    if layout.least_nodes == layout.nodes:
        return []
    rows, size = training.global_batch_size, training.least_micro_batch_size
    counts = range(layout.least_nodes, layout.nodes + 1)
    shares = math.lcm(*(size * layout.on_machines(count).data_parallel for count in counts))
    if rows is not None and rows % shares == 0:
        return []
    fitting = max(1, round((rows or training.rows_a_step(layout.data_parallel)) / shares)) * shares
    return [
        f"parallelism.min_machines: {rows or 'unsaid'} rows a step cannot be shared out evenly over "
        f"{layout.least_nodes} to {layout.nodes} machines; set training.global_batch_size={fitting} "
        "training.gradient_accumulation_steps=1"
    ]


def spread_rules(config: Config) -> list[str]:
    """Return one line for each choice that a layout of several processes cannot train."""
    layout, found = config.parallelism, []
    cut = sorted(layout.ways - config.tuning.spreads)
    if cut:
        fits = "deepspeed-2" if "optimizer" in config.tuning.spreads and "optimizer" in layout.ways else "ddp"
        if cut == ["tensor"] and "sharded" in config.tuning.spreads:
            fits = "fsdp2"
        found.append(
            f"parallelism: {type(config.tuning).__name__} cannot train weights whose {_SPREAD[cut[0]]}; "
            f"set parallelism={fits} or tuning=lora"
        )
    if config.training.precision == "fp16" and layout.ways & {"sharded", "tensor", "layers"}:
        found.append("training.precision: fp16 needs whole weights to scale by; set training.precision=bf16")
    return found


_SPREAD = {
    "optimizer": "gradients are shared out over processes",
    "sharded": "parts are kept by different processes",
    "tensor": "parts are multiplied by different processes",
    "layers": "layers lie in different processes",
}
