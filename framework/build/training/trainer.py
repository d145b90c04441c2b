"""One run of Lightning's trainer, resumed from the last checkpoint if there is one."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning

from framework.build.tracking import Tracking
from framework.build.training.batches import Batches
from framework.build.training.callbacks import DataPosition, Progress, RandomState
from framework.build.training.checkpoint_schedule import CheckpointSchedule, resume_from
from framework.build.training.checkpoints import CheckpointFiles
from framework.build.training.ema import WeightAverage, put_weights
from framework.build.training.metric_logging import MetricLogging
from framework.build.training.module import TuneModule
from framework.build.training.same_weights import SameWeights
from framework.build.training.validation import ValidationLoop

_PRECISION: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def fit(
    module: TuneModule,
    batches: Batches,
    layout: dict[str, Any],
    scratch: Path,
    tracking: Tracking,
) -> list[dict[str, float]]:
    """Train *module* for its number of steps.

    Args:
        module: the model, its loss, its optimizer and the training option.
        batches: the rows.
        layout: arguments of the trainer from the parallelism option.
        scratch: the folder of the checkpoints.
        tracking: receives metrics, from rank 0 only.

    Returns:
        One entry per optimizer step: ``step``, ``loss`` and ``learning_rate``.
    """
    training = module.training_config
    progress, files = Progress(), CheckpointFiles(scratch, training.keep_checkpoints)
    average = WeightAverage(training.ema_decay) if training.ema_decay else None
    held_out = bool(batches.validation)
    validation = ValidationLoop(training.validation, batches, progress, average) if held_out else None
    callbacks: list[Callback | None] = [
        RandomState(batches),
        progress,
        DataPosition(batches),
        average,
        validation,
        SameWeights(training.check_ranks_every_steps) if training.check_ranks_every_steps else None,
        _metric_logging(module, progress, scratch, tracking),
        CheckpointSchedule(files, training.checkpoint_every_steps, training.checkpoint_every_minutes),
    ]
    with _quiet_lightning():
        trainer = Trainer(
            callbacks=[callback for callback in callbacks if callback is not None],
            plugins=[files],
            default_root_dir=scratch,
            **{**_trainer_arguments(module), **layout},
        )
        module.train()
        elsewhere = training.resume_from.fetch() if training.resume_from is not None else None
        trainer.fit(module, batches, ckpt_path=resume_from(scratch) or elsewhere, weights_only=False)
    module.eval()
    if average is not None:
        put_weights(module.model, average.weights)
    if validation is not None:
        validation.put_best(module.model)
    return progress.curve


def _trainer_arguments(module: TuneModule) -> dict[str, Any]:
    """Return the trainer's arguments from the training option; our callbacks replace most of its features."""
    training = module.training_config
    return {
        "max_steps": module.steps,
        "max_epochs": -1,
        "accumulate_grad_batches": training.gradient_accumulation_steps,
        "precision": _PRECISION[training.precision],
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice on loggers and workers, which is for people who call it directly."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        for pattern in ("does not have many workers", "isinstance.treespec, LeafSpec", "Checkpoint"):
            warnings.filterwarnings("ignore", message=f".*{pattern}.*")
        yield


def _metric_logging(
    module: TuneModule, progress: Progress, scratch: Path, tracking: Tracking
) -> MetricLogging | None:
    """Return the callback that sends metrics to *tracking*; None on other ranks or without tracking."""
    if module.parallelism.rank > 0:
        return None
    # The scratch folder is named by the step's key, so a resumed run continues the same tracked run.
    logger = tracking.logger(scratch.name[:12])
    if logger is None:
        return None
    options = {"training": module.training_config, "tuning": module.tuning, "parallelism": module.parallelism}
    settings = {name: option.dump() for name, option in options.items()}
    return MetricLogging(logger, progress, settings)
