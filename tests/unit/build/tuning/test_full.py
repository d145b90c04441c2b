from pathlib import Path

import torch

from framework.build.model import Model
from framework.build.tuning.full import Full


def test_every_weight_is_trained(tiny_model: Model, tiny_base: Path) -> None:
    frozen = tiny_model.open(tiny_base).requires_grad_(False)
    assert all(weight.requires_grad for weight in Full().apply(frozen, tiny_model.task).parameters())
    assert Full().trainable(1e6) == 1e6


def test_merging_returns_the_saved_weights(tiny_model: Model, tiny_base: Path, tmp_path: Path) -> None:
    tuned = tiny_model.open(tiny_base)
    with torch.no_grad():
        tuned.lm_head.weight += 1
    Full().save(tuned, tmp_path)
    merged = Full().merge(tiny_model.open(tiny_base), tmp_path)
    assert not merged.training
    assert all(weight.dtype == torch.float32 for weight in merged.parameters())
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), merged.parameters(), strict=True))
