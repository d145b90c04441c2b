from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA

Fit = Callable[..., Path]
LORA = LoRA(rank=4, alpha=8)
WEIGHTS = "adapter_model.safetensors"


def test_average_is_saved_instead_of_last_weights(fit: Fit) -> None:
    """Recompute the average from the weights after each step."""
    from framework.build.training.callbacks import Progress

    seen: list[dict[str, torch.Tensor]] = []
    once = Progress.on_train_batch_end

    def note(self, trainer, module, *rest):
        seen.append({n: p.detach().clone() for n, p in module.model.named_parameters() if p.requires_grad})
        once(self, trainer, module, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_train_batch_end", note)
        saved = load_file(fit("a", LORA, epochs=2, ema_decay=0.5) / WEIGHTS)
    assert len(seen) == 8
    for name, last in seen[-1].items():
        start = torch.zeros_like(last) if "lora_B" in name else None
        kept = saved[name.replace(".default", "")]
        assert not torch.equal(kept, last)
        if start is None:
            continue  # the random start of A is unknown
        average = start
        for step, weights in enumerate(seen, 1):
            decay = min(0.5, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * weights[name]
        assert torch.allclose(kept, average, atol=1e-6)


@pytest.mark.parametrize("tuning", [LORA, Full()])
def test_resumed_average_is_bit_identical(
    fit: Fit, cut_off: Callable[..., None], tuning: LoRA | Full
) -> None:
    options = {"epochs": 2, "checkpoint_every_steps": 3, "ema_decay": 0.9}
    whole = fit("whole", tuning, **options)
    cut_off(5, "cut", tuning, **options)
    resumed = fit("cut", tuning, **options)
    name = next(whole.glob("*.safetensors")).name
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()
