"""``from_adapter``: training continues from an earlier adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from framework.build.tuning.adalora import AdaLoRA
from framework.build.tuning.ia3 import IA3
from framework.build.tuning.lora import LoRA
from framework.build.tuning.oft import OFT
from framework.build.tuning.p_tuning import PTuning
from framework.build.tuning.prompt import Prompt
from framework.core.errors import StepError

LANGUAGE, CLASSES = "causal-lm", "sequence-classification"
LORA = LoRA(rank=4, alpha=8)
Open = Callable[[str], Any]
Logits = Callable[[Any], torch.Tensor]
Earlier = Callable[[Any, str], tuple[Path, torch.Tensor]]


@pytest.fixture
def earlier(open_base: Open, train: Callable[..., list[float]], logits: Logits, tmp_path: Path) -> Earlier:
    """Train for three steps; return the adapter's folder and the model's logits."""

    def call(tuning: Any, task: str) -> tuple[Path, torch.Tensor]:
        model = tuning.apply(open_base(task), task, steps=20)
        train(tuning, model.train(), task, 1e-2, stop=3)
        tuning.save(model.eval(), tmp_path)
        return tmp_path, logits(model)

    return call


@pytest.mark.parametrize(
    "tuning",
    [LORA, LoRA(rank=4, alpha=8, use_dora=True), IA3(), OFT(block_size=8), Prompt(num_virtual_tokens=4)],
    ids=["lora", "dora", "ia3", "oft", "prompt"],
)
def test_training_continues_from_an_earlier_adapter(
    tuning: Any, earlier: Earlier, open_base: Open, logits: Logits
) -> None:
    folder, before = earlier(tuning, LANGUAGE)
    again = type(tuning)(**{**dict(tuning), "from_adapter": {"url": str(folder)}})
    model = again.apply(open_base(LANGUAGE), LANGUAGE, steps=20).eval()
    assert torch.equal(logits(model), before)
    assert not torch.equal(before, logits(open_base(LANGUAGE)))
    assert [part for part in model.parameters() if part.requires_grad]


def test_classifier_head_is_carried_over(earlier: Earlier, open_base: Open, logits: Logits) -> None:
    folder, before = earlier(LORA, CLASSES)
    tuning = LoRA(rank=4, alpha=8, from_adapter=str(folder))
    model = tuning.apply(open_base(CLASSES), CLASSES).eval()
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("tuning", "says"),
    [
        (LoRA(rank=8, alpha=8), "has r 4, not 8; set tuning.rank=4"),
        (LoRA(rank=4, alpha=16), "has lora_alpha 8.0, not 16.0; set tuning.alpha=8.0"),
        (LoRA(rank=4, alpha=8, use_dora=True), "has use_dora False, not True; set tuning.use_dora=false"),
        (
            LoRA(rank=4, alpha=8, target_modules=("q_proj",)),
            "has model.layers.0.mlp.down_proj.lora_A.weight; set the same tuning.target_modules",
        ),
        (Prompt(), "choose the same method"),
    ],
)
def test_earlier_adapter_of_another_shape_is_rejected(
    tuning: Any, says: str, earlier: Earlier, open_base: Open
) -> None:
    url = str(earlier(LORA, LANGUAGE)[0])
    tuning = type(tuning)(**{**dict(tuning), "from_adapter": {"url": url}})
    with pytest.raises(StepError) as caught:
        tuning.apply(open_base(LANGUAGE), LANGUAGE)
    assert says in str(caught.value)
    assert url in str(caught.value)
    assert str(caught.value).startswith("tuning.from_adapter: ")


def test_peft_says_why_an_adapter_does_not_fit(
    earlier: Earlier, open_base: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("size mismatch for q_proj\nand more")

    folder, _ = earlier(LORA, LANGUAGE)
    monkeypatch.setattr("peft.utils.set_peft_model_state_dict", fail)
    with pytest.raises(StepError, match=r"does not fit this model: size mismatch for q_proj; "):
        LoRA(rank=4, alpha=8, from_adapter=str(folder)).apply(open_base(LANGUAGE), LANGUAGE)


def test_folder_without_an_adapter_is_rejected(open_base: Open, tiny_base: Path) -> None:
    with pytest.raises(StepError, match=r"tuning\.from_adapter: .*has no adapter_config\.json"):
        LoRA(from_adapter=str(tiny_base)).apply(open_base(LANGUAGE), LANGUAGE)


def test_method_with_unsaved_state_cannot_be_continued() -> None:
    for kind in (AdaLoRA, PTuning):
        with pytest.raises(ValidationError, match="merge the earlier adapter"):
            kind(from_adapter="somewhere")
