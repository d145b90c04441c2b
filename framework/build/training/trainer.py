"""One call of Lightning's trainer, from the last checkpoint where there is one."""

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning

from framework.build.tracking import Tracking
from framework.build.training import Training
from framework.build.training.batches import Batches
from framework.build.training.callbacks import Position, Progress, RandomState
from framework.build.training.checkpoint_schedule import Saving, resume_from
from framework.build.training.checkpoints import CheckpointFiles
from framework.build.training.ema import Average, put_weights
from framework.build.training.module import TuneModule
from framework.build.training.same_weights import SameWeights
from framework.build.training.tracked import Tracked
from framework.build.training.validation import Validating

_PRECISION: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def fit(
    module: TuneModule,
    batches: Batches,
    training: Training,
    layout: dict[str, Any],
    scratch: Path,
    tracking: Tracking,
) -> list[dict[str, float]]:
    """Train *module* for its number of steps.

    Returns:
        One entry an optimiser step: ``step``, ``loss`` and ``learning_rate``.
    """
    progress, files = Progress(), CheckpointFiles(scratch, training.keep_checkpoints)
    saving = Saving(files, training.checkpoint_every_steps, training.checkpoint_every_minutes)
    # The scratch folder has the step's key as its name: a run that goes on is the same run.
    logger = tracking.logger(scratch.name[:12]) if module.parallelism.rank == 0 else None
    tracked = [Tracked(logger, progress, _settings(module))] if logger else []
    average = [Average(training.ema_decay)] if training.ema_decay else []
    validating = []
    if batches.validation:
        validating = [Validating(training.validation, batches, progress, average[0] if average else None)]
    checks = [SameWeights(every)] if (every := training.check_ranks_every_steps) else []
    # Lightning's advice on loggers and workers is for people who call it themselves.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint.*")
        trainer = Trainer(
            max_steps=module.steps,
            max_epochs=-1,
            accumulate_grad_batches=training.gradient_accumulation_steps,
            callbacks=[
                RandomState(batches),
                progress,
                Position(batches),
                *average,
                *validating,
                *checks,
                *tracked,
                saving,
            ],
            plugins=[files],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
            **{"precision": _PRECISION[training.precision], **layout},
        )
        module.train()
        given = training.resume_from.fetch() if training.resume_from is not None else None
        trainer.fit(module, batches, ckpt_path=resume_from(scratch) or given, weights_only=False)
    module.eval()
    for kept in average:
        put_weights(module.model, kept.weights)
    for judge in validating:
        judge.put_best(module.model)
    return progress.curve


def _settings(module: TuneModule) -> dict[str, Any]:
    """Return what a run is compared by."""
    parts = {"training": module.training_config, "tuning": module.tuning, "parallelism": module.parallelism}
    return {name: part.dump() for name, part in parts.items()}
