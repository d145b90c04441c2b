import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.build.model import Model
from framework.build.task import LABEL_MASK, open_task
from framework.build.training.batches import Batches, read_examples
from framework.build.training.guard import Guard, check_rows
from framework.build.training.supervised import Supervised
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

Fit = Callable[..., Path]
ROW = 19


@pytest.fixture
def rare(tiny_data: Path, tmp_path: Path) -> tuple[Path, int]:
    """The tiny rows, of which one has a token that no other has; and that token."""
    tensors = load_file(tiny_data / "train" / "00000.safetensors")
    token = next(token for token in range(250) if not bool((tensors["input_ids"] == token).any()))
    start = int(tensors["input_lengths"][:ROW].sum())
    tensors["input_ids"][start + 3] = token
    folder = tmp_path / "rare"
    shutil.copytree(tiny_data, folder)
    save_file(tensors, folder / "train" / "00000.safetensors")
    return folder, token


@pytest.fixture
def broken(tiny_base: Path, rare: tuple[Path, int], tmp_path: Path) -> Path:
    """The tiny model with NaN as the embedding of that token."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny_base, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][rare[1]] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("packing", [True, False])
def test_row_that_causes_a_nan_loss_is_named(
    fit: Fit, rare: tuple[Path, int], broken: Path, packing: bool
) -> None:
    text = (rare[0] / "train" / "00000.jsonl").read_text().splitlines()[ROW]
    with pytest.raises(StepError) as caught:
        fit("a", LoRA(), base=broken, data=rare[0], packing=packing)
    message = str(caught.value)
    assert "loss became nan" in message
    assert f"training row {ROW + 1} ({text[:60]}…)" in message
    assert "training.learning_rate" in message
    assert "training.precision=fp32" in message


def batches(rows: list[tuple[list[int], list[int]]], text: Path | None = None) -> Batches:
    examples = [(torch.tensor(ids), torch.tensor(labels)) for ids, labels in rows]
    return Batches(examples, open_task("causal-lm"), 2, 1, 0, text=text)


ROWS = [([1, 2, 3], [1, 2, 3]), ([4, 5], [4, 5]), ([6, 7], [LABEL_MASK, 7])]


def guard_after_30_steps(**options: Any) -> Guard:
    guard = Guard(Supervised(**options), lambda: batches(ROWS), alone=True)
    for step in range(1, 31):
        guard.check_norm(1.0 + step % 3, step, lambda batch: 1.0)
    return guard


def test_row_that_causes_an_exploding_gradient_is_named() -> None:
    guard = guard_after_30_steps()
    guard.check_loss(1.0, [0, 1, 2], 31, lambda batch: 1.0)
    alone = lambda batch: 900.0 if batch["rows"] == [1] else 3.0  # noqa: E731
    with pytest.raises(StepError) as caught:
        guard.check_norm(301.0, 31, alone)
    message = str(caught.value)
    assert all(fact in message for fact in ("301", "median 2)", "step 31", "training row 2;"))
    assert message.endswith("training.max_gradient_growth=1000")
    allowed = guard_after_30_steps(max_gradient_growth=1000)
    allowed.check_norm(301.0, 31, alone)


@pytest.mark.parametrize("norm", [199.0, 300.0])
def test_norm_limit_depends_on_median_and_clipping(norm: float) -> None:
    guard = guard_after_30_steps(gradient_clipping=4.0 if norm > 200 else 1.0)
    guard.check_norm(norm, 31, lambda batch: 1.0)


def test_norm_limit_is_off_at_first_and_with_growth_zero() -> None:
    fresh = Guard(Supervised(), lambda: batches(ROWS), alone=True)
    fresh.check_norm(1e9, 1, lambda batch: 1.0)
    free = guard_after_30_steps(max_gradient_growth=0)
    free.check_norm(1e9, 31, lambda batch: 1.0)
    free.rows = [0, 2]
    with pytest.raises(StepError, match=r"inf at step 32, .* training row 3;"):
        free.check_norm(float("inf"), 32, lambda b: 1.0 if b["rows"] == [0] else float("nan"))


def test_fp16_overflow_is_allowed() -> None:
    guard_after_30_steps(precision="fp16").check_norm(float("inf"), 31, lambda batch: 1.0)


def test_exploding_gradient_stops_a_real_run(fit: Fit, tiny_data: Path) -> None:
    with pytest.raises(StepError, match=r"at step 21, .* training row \d+ \(\{.*…\);") as caught:
        fit("a", Full(), epochs=6, max_gradient_growth=1e-3, gradient_clipping=1e-3)
    assert "training.max_gradient_growth=" in str(caught.value)


def test_norms_survive_a_resume(fit: Fit, cut_off: Callable[..., None]) -> None:
    options = {"epochs": 6, "max_gradient_growth": 1e-3, "gradient_clipping": 1e-3}
    cut_off(18, "a", Full(), **options, checkpoint_every_steps=6)
    with pytest.raises(StepError, match="at step 21,"):
        fit("a", Full(), **options)


def test_step_without_labels_is_reported(fit: Fit, tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masked"
    shutil.copytree(tiny_data, folder)
    tensors = load_file(folder / "train" / "00000.safetensors")
    tensors["labels"][:] = LABEL_MASK
    save_file(tensors, folder / "train" / "00000.safetensors")
    with pytest.raises(StepError, match=r"step 1 .* training rows \d+, .*data\.max_length"):
        fit("a", LoRA(), data=folder)


@pytest.mark.parametrize(("tensor", "kind"), [("input_ids", "token"), ("labels", "label")])
def test_ids_outside_the_model_are_reported(
    fit: Fit, tiny_data: Path, tmp_path: Path, tensor: str, kind: str
) -> None:
    folder = tmp_path / "outside"
    shutil.copytree(tiny_data, folder)
    tensors = load_file(folder / "train" / "00000.safetensors")
    tensors[tensor][int(tensors["input_lengths"][:5].sum())] = 99_999
    save_file(tensors, folder / "train" / "00000.safetensors")
    with pytest.raises(StepError, match=rf"{kind} 99999 of training row 6 \(.*\) is outside"):
        fit("a", LoRA(), data=folder)


def test_class_outside_the_model_is_reported(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    (tmp_path / "00000.jsonl").write_text("".join(json.dumps({"label": name}) + "\n" for name in "abc"))
    rows = [(torch.tensor([1]), torch.tensor([label])) for label in (0, 2, 3)]
    rows_of_three = Batches(rows, open_task("sequence-classification"), 2, 1, 0, text=tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(StepError, match=r'label 3 of training row 3 \(\{"label": "c"\}\) .* 0 to 2'):
        check_rows(rows_of_three, model)
    rows_of_three.examples.pop()
    check_rows(rows_of_three, model)


def test_encoded_rows_and_their_text_have_one_order(
    tiny_data: Path, tiny_model: Model, tiny_base: Path
) -> None:
    tokenizer = tiny_model.tokenizer(tiny_base)
    examples = read_examples(tiny_data / "train")
    lines = (tiny_data / "train" / "00000.jsonl").read_text().splitlines()
    assert len(examples) == len(lines)
    for (ids, *_), line in zip(examples, lines, strict=True):
        assert tiny_model.encode(tokenizer, json.loads(line))[0][0] == ids.tolist()
