"""Stage ``merge``: write base and tuned weights as one Hugging Face folder in float32."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.build.engine.attached_adapter import WEIGHTS, attach
from framework.build.engine.model_folder import ADAPTER, ADAPTER_CONFIG
from framework.build.export.companion_files import copy_companions
from framework.build.model import Model
from framework.build.task import Example, open_task
from framework.build.training.batches import read_examples
from framework.build.tuning import Tuning
from framework.core.errors import StepError
from framework.core.step import Stage, Workspace
from framework.core.store import RECORD

_ROWS, _AMONG = 8, 64
_BOUND = 0.01
"""Largest difference of the mean loss: 1% of the perplexity. Rounding changed it by less than 1e-3 where it
was measured: every method on the tiny model, with random adapters."""


class Merge(Stage):
    """Write a Hugging Face folder for transformers, vLLM and every exporter.

    An adapter that cannot be merged is in ``adapter/`` below the unchanged base. A merged one is compared:
    the folder's loss on some training rows must be the loss of the base with the adapter attached. After
    QLoRA too the base is the float one: rounding to nf4 is no part of the merge, and ``tuned`` metrics show
    what it changed. ``full`` and ``head`` save the whole model, so there is nothing to compare.
    """

    name: ClassVar[str] = "merge"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft")
    weight_copies: ClassVar[float] = 0.6

    model: Model
    """Opens the base model."""
    tuning: Tuning
    """Merges its own weights."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Merge input ``tune`` into input ``model``, or copy both; input ``data`` has the training rows.

        Raises:
            StepError: the merged model is not the trained one.
        """
        if not self.tuning.merges:
            shutil.copytree(
                inputs["model"], output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD)
            )
            (output / ADAPTER).mkdir()
            for name in (ADAPTER_CONFIG, WEIGHTS):
                shutil.copyfile(inputs["tune"] / name, output / ADAPTER / name)
            return
        merged = self.tuning.merge(self.model.open(inputs["model"]), inputs["tune"])
        merged.save_pretrained(output)
        copy_companions(inputs["model"], output)
        if (inputs["tune"] / ADAPTER_CONFIG).is_file():
            del merged  # only one model is in memory at a time
            self._compare(inputs, output)

    def _compare(self, inputs: Mapping[str, Path], output: Path) -> None:
        """Compare the folder's loss with that of the adapter on the float base, unmerged."""
        rows = _short_rows(read_examples(inputs["data"] / "train"))
        adapted = self._loss(attach(self.model.open(inputs["model"]), inputs["tune"]), rows)
        merged = self._loss(self.model.open(output), rows)
        if not abs(merged - adapted) <= _BOUND:  # nan is neither
            raise StepError(
                f"tuning: merging changed the model: its loss on {len(rows)} training rows is {merged:.4g}, "
                f"and {adapted:.4g} with the adapter attached; choose other tuning.target_modules, or set "
                "tuning=full"
            )
        line = f"  merged: loss {merged:.4f} on {len(rows)} training rows, {adapted:.4f} with the adapter"
        print(line, file=sys.stderr, flush=True)

    def _loss(self, model: Any, rows: Sequence[Example]) -> float:
        """Return the mean loss of *model*, in evaluation mode, on *rows*.

        One row at a time, except where a row's loss depends on the others.
        """
        import torch

        task, pad = open_task(self.model.task), model.config.pad_token_id or 0
        with torch.inference_mode():
            batches = [rows] if task.embeds else [[row] for row in rows]
            total = sum(float(task.loss(model, task.collate(batch, pad))) for batch in batches)
        return total / sum(task.weight(labels) for _, labels, *_ in rows)


def _short_rows(rows: Sequence[Example]) -> list[Example]:
    """Return the shortest of the first rows: enough to notice a ruined model, on a CPU too."""
    first = [rows[index] for index in range(min(_AMONG, len(rows)))]
    return sorted(first, key=lambda row: len(row[0]))[:_ROWS]
