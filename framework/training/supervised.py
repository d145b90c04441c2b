"""Supervised fine-tuning: cross entropy on the labels, by Lightning."""

import json

from framework.model import Model
from framework.parallelism import Device, Parallelism
from framework.training import Folders, Training
from framework.tuning import Tuning


class Supervised(Training):
    """Learn the answers of (prompt, answer) rows, or the labels of (text, label) rows."""

    def fit(
        self,
        model: Model,
        tuning: Tuning,
        parallelism: Parallelism,
        device: Device,
        folders: Folders,
        seed: int,
    ) -> None:
        """Train from the last checkpoint in ``folders.scratch``, or from the start."""
        from lightning import seed_everything

        from framework.training.batches import read_examples, train_loader
        from framework.training.module import TuneModule
        from framework.training.trainer import fit

        seed_everything(seed, verbose=False)
        examples = read_examples(folders.data / "train.safetensors")
        base = model.open(folders.model)
        tuned = tuning.apply(base, model.task)
        loader = train_loader(examples, self, model.task, base.config.pad_token_id or 0, seed)
        module = TuneModule(tuned, self, model.task, steps=self.steps(len(examples)))
        log = fit(module, loader, self, parallelism.trainer_arguments(device), folders.scratch)
        tuning.save(tuned, folders.output)
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in log]
        (folders.output / "log.jsonl").write_text("".join(lines), encoding="utf-8")
