from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from framework.build.model import Model
from framework.build.task import cross_entropy as module
from framework.build.task import open_task
from framework.build.task.cross_entropy import separable_head, summed_cross_entropy, without_head

WIDTH, VOCABULARY, PLACES = 16, 300, 50


def asked(trained: bool, bias: bool) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias).requires_grad_(trained)
    hidden = torch.randn(PLACES, WIDTH, requires_grad=True)
    return head, hidden, torch.randint(0, VOCABULARY, (PLACES,))


def plain(head: Any, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), wanted, reduction="sum")


@pytest.mark.parametrize("most", [2**12, 2**30], ids=["in parts", "at once"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("autocast", "apart"), [(False, 1e-5), (True, 1e-2)])
def test_loss_and_gradients_equal_those_of_full_logits(
    monkeypatch: pytest.MonkeyPatch, most: int, bias: bool, trained: bool, autocast: bool, apart: float
) -> None:
    monkeypatch.setitem(module._LOGITS, "cpu", most)
    head, hidden, wanted = asked(trained, bias)
    reached = [hidden, *(head.parameters() if trained else ())]
    found = []
    for way in (plain, lambda head, hidden, wanted: summed_cross_entropy(hidden, head, wanted)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = way(head, hidden, wanted) / PLACES
        found.append([loss.detach(), *torch.autograd.grad(loss, reached)])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert float((one - other).abs().max() / one.abs().max()) < apart


def test_chunks_bound_the_logits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._LOGITS, "cpu", 20 * VOCABULARY)
    head, hidden, wanted = asked(True, False)
    rows = []
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda part, *rest: rows.append(len(part)) or linear(part, *rest)
    )
    summed_cross_entropy(hidden, head, wanted).backward()
    assert rows == [20, 20, 10]


def test_no_gradients_are_computed_under_no_grad() -> None:
    head, hidden, wanted = asked(True, False)
    with torch.no_grad():
        loss = summed_cross_entropy(hidden, head, wanted)
    assert not loss.requires_grad
    assert float(loss) == pytest.approx(plain(head, hidden, wanted).item(), abs=1e-3)


def test_head_with_scaled_logits_is_not_separable(tiny_model: Model, tiny_base: Path) -> None:
    model: Any = tiny_model.open(tiny_base)
    assert separable_head(model) is model.lm_head
    model.config.final_logit_softcapping = 30.0
    assert separable_head(model) is None
    model.config.final_logit_softcapping = None
    with torch.autocast("cpu", torch.float16):
        assert separable_head(model) is None


def test_head_is_restored_after_an_error(tiny_model: Model, tiny_base: Path) -> None:
    model: Any = tiny_model.open(tiny_base)
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    with without_head(model.lm_head):
        assert model(input_ids=ids).logits.shape[-1] == model.config.hidden_size
    with pytest.raises(IndexError), without_head(model.lm_head):
        model(input_ids=ids + 10**6)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_chunked_and_direct_losses_are_equal(tiny_model: Model, tiny_base: Path) -> None:
    model: Any = tiny_model.open(tiny_base)
    task = open_task("causal-lm")
    ids = torch.arange(30, 50)
    batch = task.collate([(ids, ids), (ids[:7], ids[:7])], 0)
    fast = task.loss(model, batch)
    model.config.logits_scaling = 2.0  # which this architecture does not look at
    assert separable_head(model) is None
    assert task.loss(model, batch).item() == pytest.approx(fast.item(), abs=1e-3)
