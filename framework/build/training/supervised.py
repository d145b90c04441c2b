"""Supervised fine-tuning: cross entropy on the labels, by Lightning."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.task import open_task
from framework.build.tracking import Tracking
from framework.build.training import NO_TRACKING, Folders, Training
from framework.build.tuning import Tuning

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from framework.build.task import Example, Task
    from framework.build.training.batches import Batches


class Supervised(Training):
    """Learn the answers of (prompt, answer) rows, or the labels of (text, label) rows."""

    @property
    def pipelines(self) -> bool:
        """Whether the loss is the task's own, which pipeline stages can compute."""
        return type(self).objective is Supervised.objective

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
        """Train from the last checkpoint in ``folders.scratch``, or from the start."""
        from lightning import seed_everything

        from framework.build.training.micro_batch_search import largest_micro_batch, told_how_to_fit
        from framework.build.training.module import TuneModule
        from framework.build.training.trainer import fit

        seed_everything(seed, verbose=False)
        ranks = parallelism.data_parallel
        training, chosen = self.sized(self.least_micro_batch_size, ranks), []
        kind: Callable[..., TuneModule] = TuneModule
        if parallelism.whole_steps:
            from framework.build.training.pipelined import PipelinedModule, of_whole_steps

            kind = partial(PipelinedModule, micro_batches=training.gradient_accumulation_steps)
            training = of_whole_steps(training)
        tuned, batches = training._prepared(model, tuning, parallelism, folders, seed)
        layout = parallelism.trainer_arguments(device, self.precision, self.gradient_clipping)
        with told_how_to_fit(training, tuning, tuned, batches, device):
            if self.micro_batch_size == "auto":
                size = largest_micro_batch(training, tuned, batches, device, folders.scratch)
                training = training.sized(size)
                batches.micro_batch_size, batches.accumulation = size, training.gradient_accumulation_steps
                chosen = [{"step": 0, "micro_batch_size": size}]
            steps = training.steps(len(batches.examples), ranks)
            module = kind(tuned, training, batches.task, steps, tuning, parallelism)
            log = [*chosen, *fit(module, batches, training, layout, folders.scratch, tracking)]
        if parallelism.rank > 0:
            return  # the first process writes for all
        tuning.save(tuned, folders.output, module.whole)
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in log]
        (folders.output / "log.jsonl").write_text("".join(lines), encoding="utf-8")

    def _prepared(
        self, model: Model, tuning: Tuning, parallelism: Parallelism, folders: Folders, seed: int
    ) -> "tuple[PreTrainedModel, Batches]":
        """Return the model as it is trained, and the rows as it gets them."""
        from framework.build.task.packing import can_pack, use_packed_attention
        from framework.build.training.batches import Batches, read_examples
        from framework.build.training.guard import check_rows, refuse_too_few
        from framework.build.training.precision import hold_frozen
        from framework.build.training.preparation import prepare

        task = open_task(model.task)
        examples = read_examples(folders.data / "train.safetensors")
        refuse_too_few(self, len(examples))
        base = model.open(folders.model)
        task, examples = self.objective(task, base, examples, model, folders)
        tuned = tuning.apply(base, model.task, self.steps(len(examples), parallelism.data_parallel))
        prepare(tuned, self, folders.scratch)
        if not tuning.saves_frozen:
            hold_frozen(tuned, self.precision)
        packed = self.packing and task.packs and can_pack(tuned)
        if packed:
            use_packed_attention(tuned)
        batches = Batches(
            examples,
            task,
            self.least_micro_batch_size,
            self.gradient_accumulation_steps,
            seed,
            pad=base.config.pad_token_id or 0,
            packed=packed,
            rank=parallelism.data_rank,
            ranks=parallelism.data_parallel,
            text=folders.data / "train.jsonl",
            validation=self.validation.count(len(examples)),
        )
        check_rows(batches, tuned)
        return tuned, batches

    def objective(
        self, task: "Task", base: Any, examples: "list[Example]", model: Model, folders: Folders
    ) -> "tuple[Task, list[Example]]":
        """Return what is minimised, and on which rows; *base* is the model before it is tuned."""
        return task, examples
