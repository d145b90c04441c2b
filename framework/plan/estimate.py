"""What the steps of a plan are expected to take: joins the config's model and hardware with the stages.

Every stage has its own formulas, see ``Stage.estimate``. They are for deciding whether to start, not for
billing; ``benchmarks/quickstart.py`` prints how far they are from what was measured.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from framework.build.stages.tune_estimate import training_memory
from framework.build.task import open_task
from framework.config.schema import Config
from framework.core.step import Step
from framework.core.workload import DataSize, Estimate, Workload


def data_sizes(steps: Iterable[Step], built: Callable[[Step], Path | None]) -> dict[str, DataSize]:
    """Return how much data each data step writes, by its key.

    Args:
        steps: the plan's steps, inputs before what needs them.
        built: returns the artifact of a step, whose true numbers are used; None where it is not built yet.
    """
    sizes: dict[str, DataSize] = {}
    for step in steps:
        size = step.stage.data_size(_inputs(step, sizes), built(step))
        if size is not None:
            sizes[step.key] = size
    return sizes


def estimate(step: Step, config: Config, sizes: Mapping[str, DataSize]) -> Estimate:
    """Return what *step* is expected to take on ``environment.hardware``.

    Args:
        step: a step of the plan.
        config: the whole config.
        sizes: what ``data_sizes`` returned for the plan.
    """
    hardware = config.environment.hardware
    workload = Workload(config.model.parameters, hardware.flops, hardware.device, _inputs(step, sizes))
    return step.stage.estimate(workload)


def tune_memory(config: Config, length: float | None = None) -> float:
    """Return the bytes that training needs at its peak: on a GPU one process's, on the CPU those of all.

    Args:
        config: the whole config, or a phase's view of it.
        length: mean tokens of a row; None assumes half of ``data.max_length``.
    """
    return training_memory(
        config.training,
        config.tuning,
        config.parallelism,
        parameters=config.model.parameters,
        length=length or config.data.max_length / 2,
        generates=open_task(config.model.task).generates,
        on_cpu=config.environment.hardware.device == "cpu",
    )


def _inputs(step: Step, sizes: Mapping[str, DataSize]) -> dict[str, DataSize]:
    """Return the sizes of the inputs of *step* that hold rows, by slot."""
    return {slot: sizes[need.key] for slot, need in step.needs.items() if need.key in sizes}
