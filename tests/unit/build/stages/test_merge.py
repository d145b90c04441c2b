"""The merged folder is compared with the adapter that it was made from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.model import Model
from framework.build.stages.merge import Merge
from framework.build.tuning import Tuning
from framework.build.tuning.adalora import AdaLoRA
from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA
from framework.build.tuning.oft import OFT
from framework.core.errors import StepError
from framework.core.step import Workspace

METHODS: dict[str, Tuning] = {
    "lora": LoRA(rank=4),
    "lora-head-and-embedding": LoRA(rank=4, target_modules=("lm_head", "embed_tokens")),
    "dora": LoRA(rank=4, use_dora=True),
    "pissa": LoRA(rank=4, init="pissa"),
    "qlora": LoRA(rank=4, base_precision="nf4"),
    "adalora": AdaLoRA(rank=4, target_rank=2),
    "ia3": IA3(),
    "oft": OFT(block_size=8),
    "oft-embedding": OFT(block_size=8, target_modules=("embed_tokens",)),
}


class Ruinous(LoRA):
    """Merges into more than it adapted."""

    def merge(self, base: Any, tuned: Path) -> Any:
        """Change the head too."""
        merged = super().merge(base, tuned)
        with torch.no_grad():
            merged.get_output_embeddings().weight.mul_(-3)
        return merged


def merge(tuning: Tuning, model: Model, base: Path, data: Path, folder: Path) -> None:
    """Merge an adapter with random weights."""
    torch.manual_seed(0)
    tuned = tuning.apply(model.open(base), model.task, steps=20)
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    (folder / "tune").mkdir()
    (folder / "merged").mkdir()
    tuning.save(tuned, folder / "tune")
    inputs = {"model": base, "tune": folder / "tune", "data": data}
    Merge(model=model, tuning=tuning).run(inputs, folder / "merged", Workspace(folder))


@pytest.mark.parametrize("name", METHODS)
def test_merged_model_has_the_loss_of_the_adapter(
    name: str, tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path, capsys: Any
) -> None:
    merge(METHODS[name], tiny_model, tiny_base, tiny_data, tmp_path)
    words = capsys.readouterr().err.split("merged: loss ")[1].split()
    assert float(words[0]) == pytest.approx(float(words[5]), abs=1e-3)


def test_ruined_model_stops_the_plan(
    tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(StepError, match=r"^tuning: merging changed the model: its loss on 8 training rows"):
        merge(Ruinous(rank=4), tiny_model, tiny_base, tiny_data, tmp_path)
