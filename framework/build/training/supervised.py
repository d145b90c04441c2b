"""Supervised fine-tuning: cross entropy on the labels, trained with Lightning."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from framework.build.task import open_task
from framework.build.training import Training
from framework.build.training.run import TrainingRun

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

    def fit(self, run: TrainingRun) -> None:
        """Train from the last checkpoint in ``run.folders.scratch``, or from the start."""
        from lightning import seed_everything

        from framework.build.training.micro_batch_search import advise_on_oom, largest_micro_batch
        from framework.build.training.module import TuneModule
        from framework.build.training.precision import name_emulation
        from framework.build.training.trainer import fit

        seed_everything(run.seed, verbose=False)
        tuning, parallelism, scratch = run.tuning, run.parallelism, run.folders.scratch
        ranks = parallelism.data_parallel
        training = self.sized(self.least_micro_batch_size, ranks)
        log: list[dict[str, float]] = []
        module_class: Callable[..., TuneModule] = TuneModule
        if parallelism.whole_steps:
            from framework.build.training.pipelined import PipelinedModule, with_whole_steps

            micro_batches = training.gradient_accumulation_steps
            module_class = partial(PipelinedModule, micro_batches=micro_batches)
            training = with_whole_steps(training)
        tuned, batches = training._prepare(run)
        if parallelism.rank == 0:
            name_emulation(run.device, self.precision)
        layout = parallelism.trainer_arguments(run.device, self.precision, self.gradient_clipping)
        with advise_on_oom(training, tuning, tuned, batches, run.device):
            if self.micro_batch_size == "auto":
                size = largest_micro_batch(training, tuned, batches, run.device, scratch)
                training = training.sized(size)
                batches.micro_batch_size, batches.accumulation = size, training.gradient_accumulation_steps
                log = [{"step": 0, "micro_batch_size": size}]
            steps = training.steps(len(batches.examples), ranks)
            module = module_class(tuned, training, batches.task, steps, tuning, parallelism)
            log += fit(module, batches, layout, scratch, run.tracking)
        if parallelism.rank > 0:
            return  # rank 0 writes for all
        tuning.save(tuned, run.folders.output, module.gathered)
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in log]
        (run.folders.output / "log.jsonl").write_text("".join(lines), encoding="utf-8")

    def _prepare(self, run: TrainingRun) -> "tuple[PreTrainedModel, Batches]":
        """Return the model with its trainable weights, and the batches that it is trained on."""
        from framework.build.task.packing import can_pack, use_packed_attention
        from framework.build.training.batches import Batches, read_examples
        from framework.build.training.guard import check_rows, require_training_rows
        from framework.build.training.precision import cast_frozen
        from framework.build.training.preparation import prepare

        model, parallelism, folders = run.model, run.parallelism, run.folders
        task = open_task(model.task)
        examples = read_examples(folders.data / "train")
        require_training_rows(self, len(examples))
        if not self.judges:
            examples = task.right_rows(examples)
        base = model.open(folders.model)
        task, examples = self.objective(task, base, examples, run)
        tuned = run.tuning.apply(base, model.task, self.steps(len(examples), parallelism.data_parallel))
        prepare(tuned, self, folders.scratch)
        if not run.tuning.saves_frozen:
            cast_frozen(tuned, self.precision)
        packed = self.packing and task.packs and can_pack(tuned)
        if packed:
            use_packed_attention(tuned)
        batches = Batches(
            examples,
            task,
            self.least_micro_batch_size,
            self.gradient_accumulation_steps,
            run.seed,
            pad=base.config.pad_token_id or 0,
            packed=packed,
            rank=parallelism.data_rank,
            ranks=parallelism.data_parallel,
            text=folders.data / "train",
            validation=self.validation.count(len(examples)),
        )
        check_rows(batches, tuned)
        return tuned, batches

    def objective(
        self, task: "Task", base: Any, examples: "Sequence[Example]", run: TrainingRun
    ) -> "tuple[Task, Sequence[Example]]":
        """Return the task whose loss is minimized, and the rows; *base* is the model before tuning."""
        return task, examples
