"""The base of every training option: how long, how fast and in which precision to train."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from framework.build.training.run import TrainingRun
from framework.core.component import UNKEYED, Component
from framework.core.source import Source


class Validation(Component):
    """Training rows that are held out to measure the loss on; the seed selects them.

    Test rows are never used here, so what is later measured on them stays unbiased.
    """

    rows: Annotated[int, Field(ge=0)] = 0
    """How many rows to hold out; 0 uses ``share``."""
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of the training rows to hold out; 0 holds out none."""
    every_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between evaluations; the last step is evaluated too."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop training after this many consecutive evaluations without a new best loss; None disables
    early stopping."""
    keep: Literal["last", "best"] = "last"
    """Which weights to save: those of the last step, or those with the lowest validation loss."""

    def count(self, rows: int) -> int:
        """Return how many of *rows* are held out; at least one if ``share`` is set."""
        return self.rows or (max(1, round(rows * self.share)) if self.share else 0)


class Training(Component, ABC):
    """The optimization of a tuned model."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks that this option can train; empty for all."""

    taught: ClassVar[bool] = False
    """Whether it needs a teacher model, ``Folders.teacher``."""

    compares: ClassVar[bool] = False
    """Whether it learns from the rejected answers of preferences too."""

    judges: ClassVar[bool] = False
    """Whether it learns from bad answers too: those whose label is false."""

    least_rows: ClassVar[int] = 1
    """The fewest rows of a micro batch. Above 1, the loss depends on which rows are in one."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Peak learning rate. For AdamW, adapters need about 10x the rate of full fine-tuning. Lion needs a
    third to a tenth of AdamW's."""
    optimizer: Literal["adamw", "adamw-8bit", "lion", "lion-8bit"] = "adamw"
    """The optimizer. ``adamw`` keeps two float32 states per trained weight (fused kernel), ``lion`` one
    (Chen et al., 2023, arXiv:2302.06675). The ``-8bit`` variants keep one byte per state (Dettmers et al.,
    2022, arXiv:2110.02861); they need bitsandbytes, from the extra ``qlora``."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    """Decay rates of the optimizer's moving averages. None uses 0.9 and 0.999 for AdamW, 0.9 and 0.99 for
    Lion."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-8
    """AdamW's epsilon, added to the denominator; Lion has none."""
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 8
    """Rows per device in one forward pass, elsewhere called ``per_device_train_batch_size``. An optimizer
    step sees this times ``gradient_accumulation_steps`` times the data-parallel devices. ``auto`` tries the
    longest rows and uses the largest power of two that fits; it requires ``global_batch_size``. The chosen
    size affects rounding and is recorded in ``log.jsonl``."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Micro batches whose gradients are summed before an optimizer step. Every label of a step has the
    same weight, whichever micro batch it is in."""
    global_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Rows per optimizer step; gradient accumulation follows from it. None derives the rows from
    ``micro_batch_size`` and ``gradient_accumulation_steps``."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """Passes over the rows, unless ``max_steps`` ends training earlier. The last step is filled up with
    the first rows of another pass."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of optimizer steps; None trains for ``epochs``."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    schedule: Literal["linear", "cosine", "constant", "inverse-sqrt", "wsd"] = "linear"
    """How the learning rate decays after the warmup. ``wsd`` (warmup, stable, decay) keeps it constant and
    decays it at the end only, by one minus the square root of the time (Hägele et al., 2024,
    arXiv:2405.18392). ``inverse-sqrt`` divides it by the square root of the time, in units of the warmup."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Final learning rate as a share of the peak."""
    decay_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the steps in which ``wsd`` decays the learning rate."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled weight decay of AdamW and Lion; not applied to biases and norms."""
    gradient_clipping: Annotated[float, Field(ge=0)] = 1.0
    """Maximum gradient norm; 0 disables clipping."""
    max_gradient_growth: Annotated[float, Field(ge=0)] = 100.0
    """Stop if the gradient norm before clipping exceeds this many times both its median over the last 50
    steps and ``gradient_clipping``. 0 stops on non-finite norms only."""
    packing: bool = True
    """Concatenate the rows of a micro batch instead of padding them to the longest: same loss and
    gradients, less computation. Models whose attention cannot separate packed rows are padded anyway."""
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Precision of the forward and backward pass; weights and optimizer states stay float32. fp16 uses
    loss scaling and needs a GPU."""
    gradient_checkpointing: bool = False
    """Keep only each layer's input and recompute the other activations in the backward pass. About 20%
    slower, with far less activation memory (Chen et al., 2016, arXiv:1604.06174)."""
    compile: bool = False
    """Compile the layers with torch.compile: slow for the first minute, then faster. The compiled code is
    cached in the store for later runs. Needs a C++ compiler, and rounds slightly differently."""
    neftune_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Scale of the noise on the embeddings during training (NEFTune: Jain et al., 2023,
    arXiv:2310.05914); 5 is common, 0 disables it."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Save an exponential moving average of the trained weights with this decay per step, such as 0.999;
    the first steps use a lower decay. 0 saves the last weights."""
    validation: Validation = Validation()
    """Held-out rows, early stopping, and which weights to keep."""
    checkpoint_every_steps: Annotated[int, Field(ge=1), UNKEYED] = 10
    """Steps between checkpoints, written while training continues. A killed run resumes from the last one;
    on the CPU the result is the same, bit for bit."""
    checkpoint_every_minutes: Annotated[Annotated[float, Field(gt=0)] | None, UNKEYED] = None
    """Minutes after which a checkpoint is written at any step; None uses ``checkpoint_every_steps`` only."""
    resume_from: Source | None = None
    """A checkpoint (``step-<number>.ckpt``, below ``.gitune/store/scratch/<key>``) of an interrupted run of
    the same recipe in another layout, such as one with more GPUs. Used only if this run has no checkpoint
    yet. Both runs must have the same number of rows per step."""
    keep_checkpoints: Annotated[int, Field(ge=1), UNKEYED] = 2
    """How many checkpoints to keep; if the newest is damaged, the run resumes from the one before."""
    check_ranks_every_steps: Annotated[int, Field(ge=0), UNKEYED] = 100
    """Steps between checks that replicated weights are identical on all ranks. Training stops and names
    the rank that differs. 0 disables the check."""
    grace_seconds: Annotated[float, Field(gt=0), UNKEYED] = 25.0
    """Seconds that training has after SIGTERM to finish its step and save. Kubernetes and most spot
    machines allow 30 before they kill; a killed run resumes from its last checkpoint."""

    def requires(self) -> Mapping[str, str]:
        """Return bitsandbytes for an optimizer with 8-bit states; see the base class."""
        return {"bitsandbytes": "qlora"} if self.optimizer.endswith("-8bit") else {}

    @property
    def pipelines(self) -> bool:
        """Whether the loss can be computed in pipeline stages, each of which has some of the layers."""
        return True

    @property
    def least_micro_batch_size(self) -> int:
        """Rows of a micro batch; 1 for ``auto``, whose size is not known yet."""
        return 1 if self.micro_batch_size == "auto" else self.micro_batch_size

    def rows_a_step(self, ranks: int = 1) -> int:
        """Return the rows of an optimizer step on *ranks* data-parallel devices."""
        own = self.least_micro_batch_size * self.gradient_accumulation_steps * ranks
        return self.global_batch_size or own

    def sized(self, micro_batch_size: int, ranks: int = 1) -> Self:
        """Return this option with the same rows per step, in micro batches of *micro_batch_size*."""
        accumulated = self.rows_a_step(ranks) // (micro_batch_size * ranks)
        sizes = {"micro_batch_size": micro_batch_size, "gradient_accumulation_steps": accumulated}
        return self.model_copy(update={**sizes, "global_batch_size": None})

    def steps(self, rows: int, ranks: int = 1) -> int:
        """Return the number of optimizer steps.

        Args:
            rows: training rows, including those that validation holds out.
            ranks: data-parallel devices.
        """
        rows = max(rows - self.validation.count(rows), 0)
        all_epochs = math.ceil(rows * self.epochs / self.rows_a_step(ranks))
        return min(all_epochs, self.max_steps or all_epochs)

    @abstractmethod
    def fit(self, run: TrainingRun) -> None:
        """Train, and write ``log.jsonl`` and what ``tuning.save`` writes to ``run.folders.output``.

        Raises:
            StepError: the loss is not finite, or the tuning method finds nothing to train.
        """
