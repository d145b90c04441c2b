"""Sparse training on a tiny model: number and place of zeros, across steps and killed runs."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file

from framework.build.compression.prune_unstructured import PruneUnstructured
from framework.build.compression.sparse import Sparse, mask, maskable
from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.training.module import TuneModule
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.core.errors import StepError

SHARES = {"none": 0.7, "2:4": 0.5}


def zeros(weight: torch.Tensor) -> int:
    return int((weight == 0).sum())


@pytest.mark.parametrize("pattern", ["none", "2:4"])
def test_ratio_of_zeros_is_exact_and_the_loss_falls(
    pattern: Any, tiny_model: Model, tiny_tuned: Path, tiny_data: Path, tmp_path: Path, compressed: Any
) -> None:
    training = Supervised(learning_rate=3e-3, epochs=5, precision="fp32", weight_decay=0.1)
    option = PruneUnstructured(ratio=SHARES[pattern], pattern=pattern, ramp=0.5, training=training)
    assert not option.reshapes
    folder = compressed("sparse", option, tiny_model, tiny_tuned, tiny_data)
    opened = tiny_model.open(folder)
    layers = maskable(opened, pattern)
    assert len(layers) == 14  # four attention and three feed-forward layers in each of two blocks
    for name, layer in layers.items():
        assert zeros(layer.weight) == round(option.ratio * layer.weight.numel()), name
        if pattern == "2:4":
            assert set((layer.weight.view(-1, 4) == 0).sum(1).tolist()) == {2}
    for untouched in (opened.lm_head.weight, opened.model.norm.weight):
        assert zeros(untouched) == 0
    log = (tmp_path / "sparse-tuned" / "log.jsonl").read_text()
    curve = [json.loads(line)["loss"] for line in log.splitlines()]
    worst = max(curve)
    assert worst > curve[0]  # zeros cost quality,
    assert curve[-1] < 0.5 * (worst + curve[0])  # and training recovers most of it


def test_zeros_grow_along_the_cubic_ramp_and_stay(
    tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    once = TuneModule.optimizer_step

    def watched(self: TuneModule, *words: Any, **named: Any) -> None:
        once(self, *words, **named)
        seen.append(self.model.model.layers[0].mlp.up_proj.weight.detach() == 0)

    monkeypatch.setattr(TuneModule, "optimizer_step", watched)
    training = Supervised(learning_rate=3e-3, epochs=5, max_steps=10, precision="fp32")
    folders = Folders(model=tiny_base, data=tiny_data, output=tmp_path, scratch=tmp_path)
    tuning = Sparse(ratio=0.8, pattern="none", ramp=0.5)
    parts = {"model": tiny_model, "tuning": tuning, "parallelism": Single()}
    training.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=0))
    shares = [float(step.float().mean()) for step in seen]
    wanted = [0.8 * (1 - (1 - min(step, 5) / 5) ** 3) for step in range(1, 11)]
    assert shares == pytest.approx(wanted, abs=1e-4)
    for earlier, later in pairwise(seen):
        assert bool((later | ~earlier).all())


@pytest.mark.parametrize("after", [3, 6], ids=["within-the-ramp", "after-it"])
def test_killed_run_resumes_with_its_masks(
    after: int, fit_sparse: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(fit_sparse("whole") / "model.safetensors")
    once = TuneModule.training_step

    def die(self: TuneModule, batch: Any, index: int) -> Any:
        if self.global_step == after:
            raise RuntimeError("cut off")
        return once(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TuneModule, "training_step", die)
        with pytest.raises(RuntimeError, match="cut off"):
            fit_sparse("again")
    again = load_file(fit_sparse("again") / "model.safetensors")
    for name, weight in whole.items():
        assert torch.equal(weight, again[name]), name
    assert zeros(again["model.layers.1.mlp.down_proj.weight"]) == 64 * 128 // 2


@pytest.fixture
def fit_sparse(tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run sparse training; a second call with the same name resumes from the first one's scratch."""

    def fit(name: str) -> Path:
        for folder in (tmp_path / name, tmp_path / f"{name}-scratch"):
            folder.mkdir(exist_ok=True)
        training = Supervised(learning_rate=3e-3, max_steps=8, precision="fp32", checkpoint_every_steps=1)
        places = {"output": tmp_path / name, "scratch": tmp_path / f"{name}-scratch"}
        folders = Folders(model=tiny_base, data=tiny_data, **places)
        tuning = Sparse(ratio=0.5, pattern="2:4", ramp=0.6)
        parts = {"model": tiny_model, "tuning": tuning, "parallelism": Single()}
        training.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=0))
        return tmp_path / name

    return fit


def test_training_that_ends_during_the_ramp_keeps_the_ratio(
    tiny_model: Model, tiny_base: Path, tmp_path: Path
) -> None:
    tuning = Sparse(ratio=0.5, pattern="none", ramp=1.0)
    model = tuning.apply(tiny_model.open(tiny_base), "causal-lm", steps=100)
    tuning.after_step(model, 1)
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert zeros(weight) == round(0.5 * (1 - 0.99**3) * weight.numel())
    tuning.save(model, tmp_path)
    assert zeros(load_file(tmp_path / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]) == 2048
    at_once = Sparse(ratio=0.5, pattern="none", ramp=0.0).apply(tiny_model.open(tiny_base), "causal-lm", 100)
    assert zeros(at_once.model.layers[0].self_attn.q_proj.weight) == 2048


def test_smallest_weights_are_pruned_first() -> None:
    weight = torch.tensor([[0.1, -5.0, 3.0, 4.0], [1.0, 2.0, -0.5, 9.0]])
    assert mask(weight, 0.25, "none").tolist() == [[False, True, True, True], [True, True, False, True]]
    # The group of four with the smaller pair comes first.
    assert mask(weight, 0.25, "2:4").tolist() == [[True, True, True, True], [False, True, False, True]]
    assert mask(weight, 0.5, "2:4").tolist() == [[False, True, False, True], [False, True, False, True]]
    assert PruneUnstructured.model_validate(yaml.safe_load("pattern: 2:4")).pattern == "2:4"
    with pytest.raises(ValidationError, match=r"'ratio' should be 0\.5"):
        PruneUnstructured(pattern="2:4", ratio=0.6)


def test_model_without_linear_layers_is_rejected() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2))
    assert Full().apply(model, "causal-lm") is model
    with pytest.raises(StepError, match="GPT2LMHeadModel has no linear layer below its head to prune"):
        Sparse(ratio=0.5, pattern="none", ramp=0.5).apply(model, "causal-lm", 10)
