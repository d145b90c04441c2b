"""The base of every training option: how long, how fast and in which precision to train."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.tracking import Tracking
from framework.build.tracking.none import NoTracking
from framework.build.tuning import Tuning
from framework.core.component import UNKEYED, Component
from framework.core.source import Source

NO_TRACKING = NoTracking()


@dataclass(frozen=True)
class Folders:
    """Where training reads and writes."""

    model: Path
    """The base model, a Hugging Face folder."""
    data: Path
    """The prepared rows; see ``framework.build.stages.data``."""
    output: Path
    """What training changed goes here."""
    scratch: Path
    """Checkpoints go here, and survive a kill."""
    teacher: Path | None = None
    """The Hugging Face folder that is learnt from, where the training has a teacher."""


class Validation(Component):
    """Rows that are held back from training, drawn by the seed, to measure its loss on.

    They are training rows: test rows decide nothing here, so that what is measured on them stays true.
    """

    rows: Annotated[int, Field(ge=0)] = 0
    """How many; 0 leaves it to ``share``."""
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """How many, as a share of the training rows; 0 holds none back."""
    every_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between measurements; the last step is measured too."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Training ends after this many measurements in a row without a new best; None never."""
    keep: Literal["last", "best"] = "last"
    """Which weights are saved: those after the last step, or those that were measured best."""

    def count(self, rows: int) -> int:
        """Return how many of *rows* are held back; one at least, where a share is given."""
        return self.rows or (max(1, round(rows * self.share)) if self.share else 0)


class Training(Component, ABC):
    """The optimisation of a tuned model."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks that this option can train; empty for all."""

    taught: ClassVar[bool] = False
    """Whether it learns from another model, in ``Folders.teacher``."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Peak learning rate for AdamW; adapters bear about ten times that of full fine-tuning. Lion wants a
    third to a tenth of AdamW's."""
    optimizer: Literal["adamw", "adamw-8bit", "lion", "lion-8bit"] = "adamw"
    """What moves the weights. ``adamw`` keeps two float32 numbers a trained weight (fused kernel), ``lion``
    one (Chen et al., 2023, arXiv:2302.06675); with ``-8bit`` they take a byte each (Dettmers et al., 2022,
    arXiv:2110.02861), by bitsandbytes from the extra ``qlora``."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    """How slowly the optimiser's averages forget; None is 0.9 and 0.999 for AdamW, 0.9 and 0.99 for Lion."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-8
    """What AdamW adds to its divisor; Lion has none."""
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 8
    """Rows that one device takes through the model at a time. Others call it
    ``per_device_train_batch_size``; the optimiser sees this times
    ``gradient_accumulation_steps`` times the data-parallel devices. ``auto`` takes the largest power of two
    that fits, as tried with the longest rows; it needs ``global_batch_size``, and rounds like the size it
    takes, which ``log.jsonl`` tells."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Micro batches whose gradients are added up before the weights move. Every label of a step counts
    alike, in whichever micro batch it lies."""
    global_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Rows of one optimiser step; as many micro batches are added up as make just that. None leaves it to
    ``micro_batch_size`` and ``gradient_accumulation_steps``."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """Passes over the rows, unless ``max_steps`` ends training earlier. The last step is filled up with
    the first rows of one more pass."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Most optimiser steps; None leaves the end to ``epochs``."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    schedule: Literal["linear", "cosine", "constant", "inverse-sqrt", "wsd"] = "linear"
    """How the learning rate falls after the warm-up. ``wsd`` (warm-up, stable, decay) keeps it and lets it
    fall at the end only, by one less the root of the time (Hägele et al., 2024, arXiv:2405.18392);
    ``inverse-sqrt`` divides it by the root of the time, counted in warm-ups."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the peak to which the learning rate falls, rather than to zero."""
    decay_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the steps in which ``wsd`` lets the learning rate fall."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled decay of AdamW and Lion; biases and norms are spared."""
    gradient_clipping: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0 switches clipping off."""
    max_gradient_growth: Annotated[float, Field(ge=0)] = 100.0
    """Stop where the gradient's norm, before clipping, is more than this many times both its median over
    the last 50 steps and ``gradient_clipping``; 0 stops only where it is no number."""
    packing: bool = True
    """Lay the rows of a micro batch end to end instead of padding them to the longest: the same loss and
    gradients for less work. Models whose attention cannot keep rows apart are padded all the same."""
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Precision of the forward and backward pass; weights and optimiser stay float32. fp16 scales the
    loss and needs a GPU."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer and compute the rest again in the backward pass: about a fifth
    slower, for a fraction of the activations' memory (Chen et al., 2016, arXiv:1604.06174)."""
    compile: bool = False
    """Compile the layers (torch.compile): slow for the first minute, then faster; what was compiled is kept
    in the store for the next run. Needs a C++ compiler, and rounds a little differently."""
    neftune_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Strength of the noise on the embeddings while training (NEFTune: Jain et al., 2023,
    arXiv:2310.05914); 5 is a usual value, 0 is none."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Save a moving average of the trained weights that keeps this share of itself each step, such as
    0.999; it is lower in the first steps. 0 saves the last weights."""
    validation: Validation = Validation()
    """Rows that are held back, when to stop by them, and which weights are kept."""
    checkpoint_every_steps: Annotated[int, Field(ge=1), UNKEYED] = 10
    """Steps between checkpoints; a killed run goes on from the last one, on the CPU to the same bits.
    One is written while training goes on."""
    checkpoint_every_minutes: Annotated[Annotated[float, Field(gt=0)] | None, UNKEYED] = None
    """Minutes after which a checkpoint is written whatever the step; None leaves it to the steps."""
    resume_from: Source | None = None
    """A checkpoint (``step-<number>.ckpt``) of a cut-off run of the same recipe in another layout, to go on
    from where this one has none yet: fewer GPUs may finish what more began. It lies below
    ``.gitune/store/scratch/<key>``. Steps must have as many rows as they had."""
    keep_checkpoints: Annotated[int, Field(ge=1), UNKEYED] = 2
    """Checkpoints that are kept; where the newest was damaged, the run goes on from the one before."""
    check_ranks_every_steps: Annotated[int, Field(ge=0), UNKEYED] = 100
    """Steps between checks that all processes hold the same weights, as far as they hold the same ones;
    training stops with the number of the one that differs. 0 switches it off."""
    grace_seconds: Annotated[float, Field(gt=0), UNKEYED] = 25.0
    """Seconds that training has, once it is told to stop, to finish its step and save. Kubernetes
    and most spot machines give 30; what takes longer is killed, and goes on from its last checkpoint."""

    @property
    def pipelines(self) -> bool:
        """Whether the loss can be computed in pipeline stages, each of which has some of the layers."""
        return True

    @property
    def least_micro_batch_size(self) -> int:
        """The rows of a micro batch; 1 where that is still to be found out."""
        return 1 if self.micro_batch_size == "auto" else self.micro_batch_size

    def rows_a_step(self, ranks: int = 1) -> int:
        """Return the rows of an optimiser step on *ranks* data-parallel devices."""
        own = self.least_micro_batch_size * self.gradient_accumulation_steps * ranks
        return self.global_batch_size or own

    def sized(self, micro_batch_size: int, ranks: int = 1) -> Self:
        """Return this with the same rows a step, in micro batches of *micro_batch_size*."""
        accumulated = self.rows_a_step(ranks) // (micro_batch_size * ranks)
        sizes = {"micro_batch_size": micro_batch_size, "gradient_accumulation_steps": accumulated}
        return self.model_copy(update={**sizes, "global_batch_size": None})

    def steps(self, rows: int, ranks: int = 1) -> int:
        """Return the number of optimiser steps for *rows* training rows on *ranks* data-parallel devices.

        Those that validation holds back are among *rows*.
        """
        rows = max(rows - self.validation.count(rows), 0)
        all_epochs = math.ceil(rows * self.epochs / self.rows_a_step(ranks))
        return min(all_epochs, self.max_steps or all_epochs)

    @abstractmethod
    def fit(
        self,
        model: Model,
        tuning: Tuning,
        parallelism: Parallelism,
        device: Device,
        folders: Folders,
        seed: int,
        tracking: Tracking = NO_TRACKING,
    ) -> None:
        """Train, and write what ``tuning.save`` writes and ``log.jsonl`` to ``folders.output``.

        Raises:
            StepError: the loss is not finite, or the method finds nothing to train.
        """
