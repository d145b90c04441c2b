"""Learned prompts: their position, and that engine and peft agree."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.build.engine import open_engine
from framework.build.engine.model_folder import ADAPTER, context_length
from framework.build.task import LABEL_MASK, open_task
from framework.build.tuning import Tuning
from framework.build.tuning.p_tuning import PTuning
from framework.build.tuning.prefix import Prefix
from framework.build.tuning.prompt import Prompt
from framework.core.errors import ServeError, StepError

TASK = "causal-lm"
METHODS: dict[str, Tuning] = {
    "prompt": Prompt(num_virtual_tokens=4),
    "p-tuning": PTuning(num_virtual_tokens=4, encoder_hidden_size=32),
    "prefix": Prefix(num_virtual_tokens=4),
}
ROWS = [list(range(10, 22)), [30, 31, 32], list(range(40, 47))]


@pytest.fixture(scope="module", params=METHODS)
def folder(
    request: Any,
    tiny_tuned: Path,
    train: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A language model with a trained prompt."""
    from transformers import AutoModelForCausalLM

    place = tmp_path_factory.mktemp("prompts") / request.param
    shutil.copytree(tiny_tuned, place)
    tuning = METHODS[request.param]
    torch.manual_seed(0)
    model = tuning.apply(AutoModelForCausalLM.from_pretrained(tiny_tuned), TASK)
    train(tuning, model.train(), TASK, 1e-1)
    (place / ADAPTER).mkdir()
    tuning.save(model.eval(), place / ADAPTER)
    return place


def opened(folder: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from framework.build.engine.attached_adapter import without_known_warnings

    with without_known_warnings():
        return PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder), folder / ADAPTER
        ).eval()


@torch.no_grad()
def test_engine_logits_match_peft_without_the_prompt(folder: Path) -> None:
    model = opened(folder)
    for row, given in zip(ROWS, open_engine("torch", folder).logits(ROWS), strict=True):
        ids = torch.tensor([row])
        wanted = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -len(row) :].numpy()
        assert given.shape == (len(row), 259)
        assert np.abs(given - wanted).max() <= 1e-5


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # peft warns about its own call
def test_engine_generates_like_peft(folder: Path) -> None:
    model = opened(folder)
    for row in ROWS:
        ids = torch.tensor([row])
        long = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            use_cache=True,
            eos_token_id=None,
        )
        wanted = long[0, len(row) :].tolist() if long.shape[1] > 8 else long[0].tolist()
        engine = open_engine("torch", folder)
        engine.ends = frozenset()  # type: ignore[attr-defined]
        assert list(engine.generate(row, 8)) == wanted


def test_padding_does_not_change_the_loss(folder: Path) -> None:
    """The prompt is adjacent to the text in a padded batch too."""
    task, tuning = open_task(TASK), METHODS[folder.name]
    from transformers import AutoModelForCausalLM

    model = tuning.apply(AutoModelForCausalLM.from_pretrained(folder), TASK).eval()
    rows = []
    for ids in ROWS:
        labels = torch.tensor(ids)
        labels[:2] = LABEL_MASK
        rows.append((torch.tensor(ids), labels))
    with torch.no_grad():
        alone = sum(float(task.loss(model, task.collate([row], 0))) for row in rows)
        together = float(task.loss(model, task.collate(rows, 0)))
    assert together == pytest.approx(alone, abs=1e-4)


def test_prompt_uses_context(folder: Path, tiny_tuned: Path) -> None:
    assert context_length(folder) == context_length(tiny_tuned) - 4 == 508
    engine = open_engine("torch", folder)
    with pytest.raises(ServeError, match=r"509 tokens.* 508;"):
        list(engine.generate([5] * 509, 1))
    engine.ends = frozenset()  # type: ignore[attr-defined]
    assert len(list(engine.generate([5] * 506, 10))) == 2


def test_decoder_with_classification_head_is_rejected(tiny_base: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    with pytest.raises(StepError, match="set tuning=lora"):
        Prompt().apply(model, "sequence-classification")


def test_prompt_tuning_does_not_pack(tiny_base: Path, open_base: Callable[[str], Any]) -> None:
    from framework.build.task.packing import can_pack

    for tuning in METHODS.values():
        assert not can_pack(tuning.apply(open_base(TASK), TASK))
