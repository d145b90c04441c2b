"""The rules of batch sizes: rows per micro batch, per optimizer step and per machine."""

import math

from framework.config.schema import Config
from framework.core.problem import Problem


def batch_rules(config: Config) -> list[Problem]:
    """Return the batch sizes that contradict each other."""
    training, ranks = config.training, config.parallelism.data_parallel
    size, total = training.micro_batch_size, training.global_batch_size
    if training.least_rows > 1 and (size == "auto" or size < training.least_rows):
        return [_least_rows_rule(config)]
    if size == "auto":
        return _automatic_size_rules(config)
    if total is None:
        return []
    if training.gradient_accumulation_steps > 1:
        return [
            Problem(
                "training.global_batch_size",
                "already determines gradient accumulation",
                ("training.gradient_accumulation_steps=1",),
            )
        ]
    if total % (size * ranks):
        divisible = max(1, round(total / (size * ranks))) * size * ranks
        return [
            Problem(
                "training.global_batch_size",
                f"{total} is not divisible by micro_batch_size {size} x {ranks} device(s)",
                (f"training.global_batch_size={divisible}",),
            )
        ]
    return []


def _least_rows_rule(config: Config) -> Problem:
    """Return the problem of a micro batch that is too small for the loss, or whose size memory chooses."""
    training, ranks, key = config.training, config.parallelism.data_parallel, "training.micro_batch_size"
    least, total = training.least_rows, training.global_batch_size
    automatic = training.micro_batch_size == "auto"
    reason = f"the loss needs {least} rows of a micro batch at least"
    if automatic:
        reason = "the loss depends on which rows are in a micro batch, so memory must not decide its size"
    sizes = range(8, least - 1, -1) if automatic else range(least, 9)
    size = next((size for size in sizes if total is None or total % (size * ranks) == 0), None)
    override = f"{key}={size}" if size else f"{key}={least} training.global_batch_size={least * ranks}"
    return Problem(key, reason, (override,))


def _automatic_size_rules(config: Config) -> list[Problem]:
    total, ranks = config.training.global_batch_size, config.parallelism.data_parallel
    key = "training.micro_batch_size"
    if total is None:
        return [Problem(key, "auto requires training.global_batch_size", ("training.global_batch_size=32",))]
    if config.parallelism.processes > 1:
        size = max(1, math.gcd(total, 8 * ranks) // ranks)
        return [Problem(key, "auto is supported in one process only", (f"{key}={size}",))]
    return []


def elastic_rules(config: Config) -> list[Problem]:
    """Return a batch size that fewer machines could not split evenly."""
    layout, training = config.parallelism, config.training
    if layout.least_nodes == layout.nodes:
        return []
    rows, size = training.global_batch_size, training.least_micro_batch_size
    counts = range(layout.least_nodes, layout.nodes + 1)
    shares = math.lcm(*(size * layout.on_machines(count).data_parallel for count in counts))
    if rows is not None and rows % shares == 0:
        return []
    divisible = max(1, round((rows or training.rows_a_step(layout.data_parallel)) / shares)) * shares
    batch = "requires training.global_batch_size" if rows is None else f"training.global_batch_size is {rows}"
    return [
        Problem(
            "parallelism.min_machines",
            f"{batch}; it must be divisible by {shares} for {layout.least_nodes} to {layout.nodes} machines",
            (f"training.global_batch_size={divisible} training.gradient_accumulation_steps=1",),
        )
    ]
