import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from framework.build.training.lion import Lion
from framework.build.training.optimizers import make_optimizer, make_schedule
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit", "lion", "lion-8bit"])
def test_optimizer_lowers_loss_and_resumes_exactly(
    fit: Fit, cut_off: Callable[..., None], optimizer: str
) -> None:
    rate = 1e-2 if optimizer.startswith("adamw") else 2e-3
    options = {"optimizer": optimizer, "learning_rate": rate, "epochs": 4, "checkpoint_every_steps": 3}
    wide = LoRA(rank=32, alpha=64)  # bitsandbytes uses 8 bits from 4,096 weights on
    whole = fit("whole", wide, **options)
    assert losses(whole)[-1] < 0.9 * losses(whole)[0]

    cut_off(8, "cut", wide, **options)
    resumed = fit("cut", wide, **options)
    for name in ("adapter_model.safetensors", "log.jsonl"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_8bit_states_take_one_byte_each() -> None:
    weight = torch.nn.Parameter(torch.ones(64, 128))
    weight.grad = torch.ones_like(weight)
    for name, numbers in (("adamw-8bit", 2), ("lion-8bit", 1)):
        optimizer = make_optimizer(Supervised(optimizer=name), [weight])
        optimizer.step()
        kept = [v for v in optimizer.state[weight].values() if torch.is_tensor(v) and v.shape == weight.shape]
        assert [value.dtype for value in kept] == [torch.uint8] * numbers


def test_lion_update_is_that_of_the_paper() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    average = torch.zeros(2)
    expected = weight.detach().clone()
    for gradient in (torch.tensor([0.3, -0.1]), torch.tensor([-5.0, 0.2])):
        weight.grad = gradient
        optimizer.step()
        expected = expected - 0.1 * ((0.9 * average + 0.1 * gradient).sign() + 0.5 * expected)
        average = 0.99 * average + 0.01 * gradient
    assert torch.allclose(weight, expected, atol=1e-6)


def test_lion_agrees_with_bitsandbytes() -> None:
    from bitsandbytes.optim import Lion as BitsandbytesLion

    start, draw = torch.randn(32, 8), torch.Generator().manual_seed(1)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one = Lion([ours], lr=1e-2, weight_decay=0.1)
    other = BitsandbytesLion([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(32, 8, generator=draw)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_betas_and_epsilon_reach_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    group = make_optimizer(Supervised(betas=(0.8, 0.95), epsilon=1e-6), [weight]).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.95), 1e-6)
    lion = make_optimizer(Supervised(optimizer="lion"), [weight])
    assert lion.param_groups[0]["betas"] == (0.9, 0.99)


def test_missing_bitsandbytes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(StepError, match=r"install gitune\[qlora\], or set training.optimizer=lion$"):
        make_optimizer(Supervised(optimizer="lion-8bit"), [torch.nn.Parameter(torch.ones(2, 2))])


def test_overlapping_warmup_and_decay_end_at_the_minimum() -> None:
    curve = rates(schedule="wsd", decay_ratio=1.0)
    assert curve[10] == pytest.approx(1.0)
    assert curve[100] == pytest.approx(0)


def rates(**options: object) -> list[float]:
    training = Supervised(learning_rate=1.0, warmup_ratio=0.1, **options)
    optimizer = make_optimizer(training, [torch.nn.Parameter(torch.ones(2, 2))])
    schedule, history = make_schedule(training, optimizer, 100), []
    for _ in range(100):
        history.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*history, optimizer.param_groups[0]["lr"]]


def test_schedule_shapes() -> None:
    every = {name: rates(schedule=name) for name in ("linear", "cosine", "constant", "inverse-sqrt", "wsd")}
    for name, curve in every.items():
        assert curve[0] == 0, name
        assert curve[5] == pytest.approx(0.5), name
        assert curve[10] == pytest.approx(1.0), name
    assert every["linear"][55] == pytest.approx(0.5)
    assert every["cosine"][55] == pytest.approx(0.5)
    assert every["constant"][100] == 1
    assert every["inverse-sqrt"][40] == pytest.approx(math.sqrt(10 / 40))
    assert every["wsd"][79] == 1
    assert every["wsd"][85] == pytest.approx(0.5)
    assert every["wsd"][100] == pytest.approx(0)


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd"])
def test_minimum_learning_rate_is_kept(name: str) -> None:
    assert rates(schedule=name, min_learning_rate_ratio=0.1)[100] == pytest.approx(0.1)
