"""The distillation loss against a manual float64 computation, packed and padded, for every kind of model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from framework.build.model import Model
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.task import LABEL_MASK, open_task
from framework.build.task.cross_entropy import _LOGITS
from framework.build.task.distillation import Distilled, Mix, divergence
from framework.build.task.packing import use_packed_attention
from framework.build.training.batches import read_examples

MIX = Mix(temperature=3.0, soft=0.7, hard=0.4, states=0.3)


def shaken(model: Any, seed: int) -> Any:
    """Perturb every weight, so that student and teacher differ."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=source)
    return model


def by_hand(student: Any, teacher: Any, rows: Any) -> torch.Tensor:
    """Compute the loss row by row from full logits, in float64, with torch's functions."""
    total, t = torch.zeros((), dtype=torch.float64), MIX.temperature
    for ids, labels, *_ in rows:
        places = [place for place in range(len(ids) - 1) if labels[place + 1] != LABEL_MASK]
        out = student(ids[None], output_hidden_states=True)
        with torch.no_grad():
            taught = teacher(ids[None], output_hidden_states=True)
        own, theirs = out.logits[0, places], taught.logits[0, places]
        total = total + MIX.hard * cross_entropy(own, labels[1:][places], reduction="sum")
        log_own, log_theirs = (own / t).log_softmax(-1), (theirs / t).log_softmax(-1)
        total = total + MIX.soft * t**2 * kl_div(log_own, log_theirs, reduction="sum", log_target=True)
        apart = [
            ((out.hidden_states[layer][0, places] - taught.hidden_states[layer][0, places]) ** 2)
            .mean(1)
            .sum()
            for layer in (1, 2)
        ]
        total = total + MIX.states * sum(apart) / 2
    return total


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_decoder_loss_and_gradient_match_a_manual_computation(
    packed: bool, tiny_model: Model, tiny_base: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_LOGITS, "cpu", 1)  # the head takes 16 places at a time, so that there are several
    rows = read_examples(tiny_data / "train.safetensors")[:5]
    student, teacher = (shaken(tiny_model.open(tiny_base), seed) for seed in (1, 2))
    task = Distilled(open_task("causal-lm"), teacher, MIX)
    assert task.packs
    if packed:
        use_packed_attention(student)
    loss = task.loss(student, task.collate(rows, 0, packed))
    loss.backward()
    wanted_student, wanted_teacher = (shaken(tiny_model.open(tiny_base), seed).double() for seed in (1, 2))
    wanted = by_hand(wanted_student, wanted_teacher, rows)
    wanted.backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    for (name, own), right in zip(student.named_parameters(), wanted_student.parameters(), strict=True):
        scale = right.grad.abs().max()
        assert (own.grad - right.grad).abs().max() < 2e-5 * scale, name
    assert all(weight.grad is None for weight in teacher.parameters())


@pytest.mark.parametrize("problem", ["single-label", "multi-label", "entities"])
def test_classifier_loss_matches_a_manual_computation(problem: Any, tmp_path: Path) -> None:
    option = TinyEncoder(name="x", license="x", parameters=1, problem=problem, labels=("a", "b", "c"))
    option.materialize(tmp_path, seed=0)
    student, teacher = (shaken(option.open(tmp_path), seed) for seed in (1, 2))
    ids = [torch.tensor([5, 6, 7, 8]), torch.tensor([5, 9])]
    labels = {
        "single-label": [torch.tensor([2]), torch.tensor([0])],
        "multi-label": [torch.tensor([1, 0, 1]), torch.tensor([0, 0, 1])],
        "entities": [torch.tensor([-100, 3, 1, -100]), torch.tensor([-100, 0])],
    }[problem]
    rows = list(zip(ids, labels, strict=True))
    inner = open_task(option.task)
    for model in (student, teacher):
        model.requires_grad_(False)
    task = Distilled(inner, teacher, Mix(2.0, 0.5, 0.25))
    batch = task.collate(rows, 0)
    found = task.loss(student, batch)
    soft = torch.zeros(())
    for row, wanted in rows:
        one, other = student(row[None]).logits[0], teacher(row[None]).logits[0]
        if problem == "multi-label":
            p, q = (other / 2).sigmoid(), (one / 2).sigmoid()
            soft = soft + (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
            continue
        if problem == "entities":
            one, other = one[wanted != LABEL_MASK], other[wanted != LABEL_MASK]
        p, q = (other / 2).softmax(-1), (one / 2).softmax(-1)
        soft = soft + (p * (p / q).log()).sum()
    assert float(found) == pytest.approx(float(0.25 * inner.loss(student, batch) + 0.5 * 4 * soft), rel=1e-4)
    # A student that is its teacher has nothing but the labels to learn, however its layers are weighed.
    same = Distilled(inner, student, Mix(2.0, 0.5, 0.25, 1.0))
    assert float(same.loss(student, batch)) == pytest.approx(
        0.25 * float(inner.loss(student, batch)), rel=1e-5
    )
    more = Distilled(inner, teacher, Mix(2.0, 0.5, 0.25, 1.0))
    assert float(more.loss(student, batch)) > float(found) + 1e-3


def test_padded_vocabularies_are_compared_on_shared_tokens() -> None:
    own, taught = torch.randn(3, 10), torch.randn(3, 12)
    assert torch.equal(divergence(own, taught, 2.0), divergence(own, taught[:, :10], 2.0))
    assert float(divergence(own, own, 2.0)) == 0.0
