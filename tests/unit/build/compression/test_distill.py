"""Distillation on tiny models: kinds of students, what they learn, and incompatible teachers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from framework.build.compression.distill import Distill, keep_layers
from framework.build.compression.teacher_training import Distillation
from framework.build.model import Model
from framework.build.model.tiny import TinyCausalLM
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.parallelism.single import Single
from framework.build.training.batches import read_examples
from framework.build.training.run import Folders, TrainingRun
from framework.build.tuning.full import Full
from framework.core.errors import StepError


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def divergence(student: Any, teacher: Any, data: Path) -> float:
    """The mean KL divergence of two models over the test rows."""
    found = []
    for ids, *_ in read_examples(data / "test.safetensors"):
        with torch.no_grad():
            one, other = (model(ids[None]).logits[0].log_softmax(-1) for model in (student, teacher))
        found.append(float((other.exp() * (other - one)).sum(-1).mean()))
    return sum(found) / len(found)


def test_one_layer_student_approaches_its_teacher(
    tiny_model: Model,
    tiny_tuned: Path,
    tiny_data: Path,
    tmp_path: Path,
    compressed: Callable[..., Path],
    outside: Callable[..., Any],
) -> None:
    training = Distillation(learning_rate=3e-3, max_steps=40, hidden_weight=0.1, precision="fp32")
    option = Distill(layers=1, training=training)
    assert option.reshapes
    assert option.taught
    assert option.teacher_model is None
    folder = compressed("student", option, tiny_model, tiny_tuned, tiny_data, tiny_tuned)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 1
    curve = losses(tmp_path / "student-tuned")
    assert curve[-1] < 0.5 * curve[0]
    teacher, student = tiny_model.open(tiny_tuned), tiny_model.open(folder)
    cut = tiny_model.open(tmp_path / "student-reshaped")
    assert divergence(student, teacher, tiny_data) < 0.7 * divergence(cut, teacher, tiny_data)
    with torch.inference_mode():
        assert torch.equal(outside(folder), student(torch.arange(3, 40)[None]).logits)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (tiny_tuned / name).read_bytes()


def test_kept_layers_keep_their_config_entries(tiny_classifier: tuple[Model, Path]) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    kinds = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2Config(vocab_size=50, num_hidden_layers=4, layer_types=kinds, **sizes)
    model = Qwen2ForCausalLM(config)
    wanted = [model.model.layers[place].mlp.up_proj.weight for place in (0, 3)]
    keep_layers(model, 2)
    assert [layer.mlp.up_proj.weight for layer in model.model.layers] == wanted
    assert model.config.layer_types == [kinds[0], kinds[3]]
    assert model.config.num_hidden_layers == 2
    option, folder = tiny_classifier
    with pytest.raises(StepError, match=r"has 2 layers, not 5; set compression\.distill\.layers=1"):
        keep_layers(option.open(folder), 5)


def test_separate_student_learns_from_separate_teacher(
    tiny_model: Model, tiny_base: Path, tiny_tuned: Path, tiny_data: Path, tmp_path: Path, compressed: Any
) -> None:
    small = TinyCausalLM(name="small", license="x", parameters=1e5, layers=1)
    training = Distillation(learning_rate=3e-3, max_steps=16, hard_weight=0, precision="bf16")
    option = Distill(student=small, teacher=tiny_model, training=training)
    assert option.teacher_model is tiny_model
    folder = compressed("small", option, tiny_model, tiny_tuned, tiny_data, tiny_base)
    assert len(tiny_model.open(folder).model.layers) == 1
    curve = losses(tmp_path / "small-tuned")
    assert curve[-1] < curve[0]


def test_classifier_learns_its_teachers_distribution(
    tiny_classifier: tuple[Model, Path], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    option, folder = tiny_classifier
    # Rows as the data step prepares them: 16 texts of 4 to 8 tokens, of three classes.
    lengths = [4 + row % 5 for row in range(16)]
    source = torch.Generator().manual_seed(0)
    stored = {
        "input_ids": torch.randint(5, 100, (sum(lengths),), generator=source, dtype=torch.int32),
        "input_lengths": torch.tensor(lengths, dtype=torch.int32),
        "labels": torch.tensor([row % 3 for row in range(16)], dtype=torch.int32),
        "label_lengths": torch.ones(16, dtype=torch.int32),
    }
    for name in ("rows", "out", "scratch", "other"):
        (tmp_path / name).mkdir()
    save_file(stored, tmp_path / "rows" / "train.safetensors")
    training = Distillation(
        learning_rate=3e-3, max_steps=20, micro_batch_size=4, hidden_weight=0.5, precision="fp32"
    )

    def fit(teacher: Path | None) -> None:
        places = {"output": tmp_path / "out", "scratch": tmp_path / "scratch", "teacher": teacher}
        folders = Folders(model=folder, data=tmp_path / "rows", **places)
        parts = {"model": option, "tuning": Full(), "parallelism": Single()}
        training.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=0))

    TinyEncoder(name="t", license="x", parameters=1, labels=("up", "down", "flat")).materialize(
        tmp_path / "other", seed=3
    )
    fit(tmp_path / "other")
    curve = losses(tmp_path / "out")
    assert curve[-1] < 0.8 * curve[0]
    with pytest.raises(StepError, match="set compression=distill"):
        fit(None)
    TinyEncoder(name="t", license="x", parameters=1, labels=("yes", "no")).materialize(
        tmp_path / "other", seed=3
    )
    with pytest.raises(StepError, match=r"compression\.distill\.teacher: .*yes, no.*up, down, flat"):
        fit(tmp_path / "other")


def test_other_vocabulary_and_hidden_size_are_rejected(
    tiny_model: Model, tiny_base: Path, tiny_llama: Path, tiny_data: Path, tmp_path: Path
) -> None:
    def fit(teacher: Path, **fields: Any) -> None:
        places = {"output": tmp_path, "scratch": tmp_path, "teacher": teacher}
        folders = Folders(model=tiny_base, data=tiny_data, **places)
        option = Distillation(max_steps=2, precision="fp32", **fields)
        parts = {"model": tiny_model, "tuning": Full(), "parallelism": Single()}
        option.fit(TrainingRun(**parts, device="cpu", folders=folders, seed=0))

    with pytest.raises(StepError, match=r"compression\.distill\.teacher: its vocabulary"):
        fit(tiny_llama)
    wide = tmp_path / "wide"
    TinyCausalLM(name="w", license="x", parameters=1, hidden_size=128).materialize(wide, seed=1)
    with pytest.raises(StepError, match=r"128, the student's 64; set compression\.distill\.training\.hidden"):
        fit(wide, hidden_weight=1.0)
    fit(wide)
    with pytest.raises(ValidationError, match="'student' should be null"):
        Distill(layers=1, student=tiny_model)
