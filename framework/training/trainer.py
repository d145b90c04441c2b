"""One call of Lightning's trainer, from the last checkpoint where there is one."""

import logging
import warnings
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning

from framework.training import Training
from framework.training.average import Average, put_weights
from framework.training.batches import Batches
from framework.training.callbacks import Position, Progress, RandomState
from framework.training.checkpoints import CheckpointFiles
from framework.training.module import TuneModule
from framework.training.same_weights import SameWeights
from framework.training.saving import Saving, resume_from

_PRECISION: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def fit(
    module: TuneModule, batches: Batches, training: Training, layout: dict[str, Any], scratch: Path
) -> list[dict[str, float]]:
    """Train *module* for its number of steps.

    Returns:
        One entry an optimiser step: ``step``, ``loss`` and ``learning_rate``.
    """
    progress, files = Progress(), CheckpointFiles(scratch, training.keep_checkpoints)
    saving = Saving(files, training.checkpoint_every_steps, training.checkpoint_every_minutes)
    average = [Average(training.ema_decay)] if training.ema_decay else []
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
            precision=_PRECISION[training.precision],
            accumulate_grad_batches=training.gradient_accumulation_steps,
            callbacks=[RandomState(), progress, Position(batches), *average, *checks, saving],
            plugins=[files],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
            **layout,
        )
        module.train()
        trainer.fit(module, batches, ckpt_path=resume_from(scratch), weights_only=False)
    module.eval()
    for kept in average:
        put_weights(module.model, kept.weights)
    return progress.curve
