"""Every tuning method on every task: gradients flow, and merging does not change outputs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.engine.attached_adapter import attach
from framework.build.model import Model
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.model.tiny_t5 import TinySeq2Seq
from framework.build.model.tiny_vilt import TinyImageText
from framework.build.task import open_task
from framework.build.tuning import Tuning
from framework.build.tuning.adalora import AdaLoRA
from framework.build.tuning.adapter import Adapter
from framework.build.tuning.head import Head
from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA
from framework.build.tuning.oft import OFT

ABOUT: dict[str, Any] = {"name": "tiny", "license": "Apache-2.0", "parameters": 1e5}
MODELS: dict[str, Model] = {
    "several": TinyEncoder(**ABOUT, problem="multi-label", labels=("a", "b")),
    "entities": TinyEncoder(**ABOUT, problem="entities", labels=("a",)),
    "seq2seq": TinySeq2Seq(**ABOUT),
    "image": TinyImageText(**ABOUT, labels=("a", "b")),
}
METHODS: dict[str, Tuning] = {
    "head": Head(),
    "last": Head(layers="last-1"),
    "lora": LoRA(rank=4, alpha=8),
    "attention": LoRA(rank=4, alpha=8, target_modules="attention-mlp"),
    "dora": LoRA(rank=4, alpha=8, use_dora=True),
    "pissa": LoRA(rank=4, alpha=4, init="pissa"),
    "adalora": AdaLoRA(rank=6, target_rank=3, interval=2),
    "ia3": IA3(),
    "oft": OFT(block_size=8),
    "adapter": Adapter(reduction=4),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of random weights for each model."""
    folders = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, folder in folders.items():
        MODELS[name].materialize(folder, seed=0)
    return folders


def rows(name: str) -> list[tuple[torch.Tensor, ...]]:
    """Three rows of bytes, whose last one is the shortest."""
    found: list[tuple[torch.Tensor, ...]] = []
    for length in (12, 9, 6):
        ids = torch.arange(30, 30 + length)
        if name == "several":
            found.append((ids, torch.tensor([1, 0])))
        elif name == "entities":
            found.append((ids, torch.tensor([-100, *[4, 0] * 6])[:length]))
        elif name == "seq2seq":
            found.append((ids, ids.flip(0)[:5]))
        else:
            found.append(
                (ids, torch.tensor([length % 2]), torch.full((3 * 32 * 32,), 9 * length, dtype=torch.uint8))
            )
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_tuned_model_learns_and_reloads_unchanged(
    name: str, method: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    model, tuning = MODELS[name], METHODS[method]
    task = open_task(model.task)
    tuned = tuning.apply(model.open(bases[name]), model.task, steps=20).eval()
    trained = {key: part for key, part in tuned.named_parameters() if part.requires_grad}
    assert 0 < len(trained) < len(list(tuned.parameters()))
    optimizer, losses = torch.optim.AdamW(trained.values(), lr=1e-2), []
    for step in range(8):
        loss = task.loss(tuned, task.collate(rows(name), 0))
        losses.append(loss.item())
        (loss + (tuning.penalty(tuned) or 0)).backward()
        optimizer.step()
        tuning.after_step(tuned, step + 1)
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    tuning.save(tuned, tmp_path)
    base = model.open(bases[name])
    plain = tuning.merge(base, tmp_path) if tuning.merges else attach(base, tmp_path)
    with torch.no_grad():
        now, then = (float(task.loss(one.eval(), task.collate(rows(name), 0))) for one in (tuned, plain))
    assert then == pytest.approx(now, rel=1e-4, abs=1e-4)
