import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from framework.build.tuning.adalora import AdaLoRA
from framework.core.errors import StepError

TASK = "causal-lm"
ADALORA = AdaLoRA(rank=6, target_rank=3, interval=3)


def begin(open_base: Callable[[str], Any]) -> Any:
    torch.manual_seed(0)
    return ADALORA.apply(open_base(TASK), TASK, steps=20).train()


def ranks(model: Any) -> list[int]:
    return [int((part != 0).sum()) for name, part in model.named_parameters() if ".lora_E." in name]


def test_ranks_are_removed_down_to_the_target(
    open_base: Callable[[str], Any], train: Callable[..., Any], tmp_path: Path
) -> None:
    model = begin(open_base)
    train(ADALORA, model, TASK, 1e-2, stop=2)
    assert ranks(model) == [6] * 14
    train(ADALORA, model, TASK, 1e-2, first=2)
    assert sum(ranks(model)) == 14 * 3
    assert len(set(ranks(model))) > 1  # importance differs between layers
    ADALORA.save(model, tmp_path)
    pattern = json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    assert sorted(map(sum, pattern.values())) == sorted(ranks(model))


@pytest.mark.parametrize("cut", [4, 9, 17])  # before, during and after the removal of ranks
def test_resumed_run_ends_with_the_same_bits(
    cut: int, open_base: Callable[[str], Any], train: Callable[..., Any]
) -> None:
    whole = begin(open_base)
    train(ADALORA, whole, TASK, 1e-2)
    first = begin(open_base)
    train(ADALORA, first, TASK, 1e-2, stop=cut)
    kept = {name: part.clone() for name, part in first.named_parameters() if part.requires_grad}
    extra = {name: part.clone() for name, part in ADALORA.state(first).items()}
    assert all(isinstance(part, torch.Tensor) for part in extra.values())
    second = begin(open_base)
    second.load_state_dict(kept, strict=False)
    ADALORA.load_state(second, extra)
    train(ADALORA, second, TASK, 1e-2, first=cut)
    ends = zip(whole.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in ends)


def test_penalty_is_the_distance_from_orthogonality(open_base: Callable[[str], Any]) -> None:
    model = begin(open_base)
    with torch.no_grad():
        for name, part in model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                torch.nn.init.orthogonal_(part)
    assert float(ADALORA.penalty(model).detach()) < 1e-4
    with torch.no_grad():
        for name, part in model.named_parameters():
            if ".lora_A." in name:
                part.mul_(2**0.5)  # A @ A.T is twice the identity: the distance is the norm of the identity
    assert float(ADALORA.penalty(model).detach()) == pytest.approx(0.5 * 6**0.5 / 2, rel=1e-4)


def test_peft_adds_no_penalty(open_base: Callable[[str], Any]) -> None:
    ids = torch.arange(1, 9)[None]
    base, model = open_base(TASK), begin(open_base).eval()
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids, labels=ids).loss, base(input_ids=ids, labels=ids).loss)


def test_adalora_requires_steps_and_a_lower_target(open_base: Callable[[str], Any]) -> None:
    with pytest.raises(StepError, match="at least 5 steps, not 3; set tuning=lora"):
        AdaLoRA().apply(open_base(TASK), TASK, steps=3)
    with pytest.raises(ValidationError, match="'target_rank' should be below 'rank'"):
        AdaLoRA(rank=8, target_rank=8)
    for steps in (5, 6, 7, 11):
        AdaLoRA(initial_ratio=0.4, final_ratio=0.4, rank=3, target_rank=1).apply(open_base(TASK), TASK, steps)
