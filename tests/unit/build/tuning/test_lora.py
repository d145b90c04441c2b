import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.build.model import Model
from framework.build.parallelism.single import Single
from framework.build.stages.merge import Merge
from framework.build.stages.tune import Tune
from framework.build.training.supervised import Supervised
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError
from framework.core.step import Workspace

LORA = LoRA(rank=4, alpha=16, dropout=0.1)
IDS = torch.arange(1, 41).reshape(2, 20)


@pytest.fixture(scope="module")
def adapter(tiny_model: Model, tiny_base: Path, tiny_data: Path, tmp_path_factory: Any) -> Path:
    """The output of the step ``tune`` with LoRA."""
    folder = tmp_path_factory.mktemp("adapter")
    training = Supervised(learning_rate=1e-2, epochs=4, precision="fp32")
    stage = Tune(model=tiny_model, tuning=LORA, training=training, parallelism=Single(), device="cpu", seed=0)
    stage.run({"model": tiny_base, "data": tiny_data}, folder, Workspace(tmp_path_factory.mktemp("scratch")))
    return folder


@pytest.fixture(scope="module")
def merged(tiny_model: Model, tiny_base: Path, adapter: Path, tiny_data: Path, tmp_path_factory: Any) -> Path:
    """The output of the step ``merge``."""
    folder = tmp_path_factory.mktemp("merged")
    stage = Merge(model=tiny_model, tuning=LORA)
    stage.run({"model": tiny_base, "tune": adapter, "data": tiny_data}, folder, Workspace(folder))
    return folder


def test_all_linear_layers_except_the_head_are_adapted(tiny_model: Model, tiny_base: Path) -> None:
    tuned = LORA.apply(tiny_model.open(tiny_base), tiny_model.task)
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in tuned.state_dict() if ".lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    one = LoRA(target_modules=("q_proj",)).apply(tiny_model.open(tiny_base), tiny_model.task)
    assert sum(".lora_A" in name for name in one.state_dict()) == 2  # one in each of two layers


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("q_porj",), "no linear layer is named 'q_porj'; did you mean 'q_proj'"),
        (
            ("q_proj", "query_key_value"),
            "no linear layer is named 'query_key_value'; the linear layers are down_proj",
        ),
        (("proj",), "no linear layer is named 'proj'"),
    ],
)
def test_unmatched_target_is_rejected(
    tiny_model: Model, tiny_base: Path, names: tuple[str, ...], says: str
) -> None:
    with pytest.raises(StepError) as caught:
        LoRA(target_modules=names).apply(tiny_model.open(tiny_base), tiny_model.task)
    assert says in str(caught.value)
    assert str(caught.value).startswith("tuning.target_modules")


def test_unadaptable_target_is_rejected(tiny_model: Model, tiny_base: Path) -> None:
    with pytest.raises(StepError, match=r"tuning.target_modules.*'self_attn'"):
        LoRA(target_modules=("self_attn",)).apply(tiny_model.open(tiny_base), tiny_model.task)


def test_empty_targets_are_rejected_by_the_config() -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        LoRA(target_modules=())


@torch.no_grad()
def test_merged_equals_adapter(tiny_model: Model, tiny_base: Path, adapter: Path, merged: Path) -> None:
    from framework.build.engine.attached_adapter import without_known_warnings

    with without_known_warnings():
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(tiny_model.open(tiny_base), adapter).eval()
    base, plain = tiny_model.open(tiny_base), tiny_model.open(merged)
    wanted, given = adapted(input_ids=IDS).logits, plain(input_ids=IDS).logits
    assert float((wanted - given).abs().max()) <= 1e-5
    assert float((base(input_ids=IDS).logits - given).abs().max()) > 1e-2  # training changed the model


def test_adapter_has_no_local_path(adapter: Path) -> None:
    body = json.loads((adapter / "adapter_config.json").read_text())
    assert body["base_model_name_or_path"] is None
    assert body["r"] == 4
    assert body["target_modules"] == sorted(body["target_modules"])
    assert "/tmp" not in (adapter / "adapter_config.json").read_text()
    assert {path.name for path in adapter.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "log.jsonl",
    }


PLAIN = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, merged = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(merged)
messages = [{"role": "user", "content": "Is 3 even or odd?"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
with torch.no_grad():
    one = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)(input_ids=ids).logits
    model = AutoModelForCausalLM.from_pretrained(merged)
    other = model(input_ids=ids).logits
assert float((one - other).abs().max()) <= 1e-5
assert model.generation_config.eos_token_id == tokenizer.eos_token_id
assert model.generate(ids, max_new_tokens=4).shape[1] > ids.shape[1]
assert not [name for name in sys.modules if name.split(".")[0] == "framework"]
"""


@pytest.mark.slow
def test_peft_and_transformers_open_the_folder(
    tiny_base: Path, adapter: Path, merged: Path, tmp_path: Path
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", PLAIN, str(tiny_base), str(adapter), str(merged)]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_classifier_head_is_trained_saved_and_merged(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    def open_base() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()

    tuned = LORA.apply(open_base(), "sequence-classification")
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
    assert [n for n, p in tuned.named_parameters() if p.requires_grad and "classifier" in n]
    LORA.save(tuned, tmp_path)
    merged = LORA.merge(open_base(), tmp_path)
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        wanted, given = tuned.eval()(input_ids=ids).logits, merged.eval()(input_ids=ids).logits
        assert float((wanted - given).abs().max() / wanted.abs().max()) <= 1e-5
        assert float((open_base()(input_ids=ids).logits - given).abs().max()) > 1e-2
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert again.state_dict().keys() == open_base().state_dict().keys()


def test_estimate_of_trained_weights_is_close(tiny_model: Model, tiny_base: Path) -> None:
    assert LoRA(rank=16).trainable(135e6) == pytest.approx(4.9e6, rel=0.6)  # SmolLM2-135M, counted
    assert LoRA(rank=4096).trainable(1e5) == 1e5


def test_rslora_dora_and_pissa_are_passed_to_peft(tiny_model: Model, tiny_base: Path, tmp_path: Path) -> None:
    variants = {
        "rslora": (LoRA(rank=4, alpha=8, use_rslora=True), {"use_rslora": True, "r": 4}),
        "dora": (LoRA(rank=4, alpha=8, use_dora=True), {"use_dora": True}),
        "pissa": (LoRA(rank=4, alpha=8, init="pissa"), {"r": 8, "lora_alpha": 16, "init_lora_weights": True}),
        "both": (
            LoRA(rank=4, alpha=8, init="pissa", use_rslora=True),
            {"r": 8, "lora_alpha": pytest.approx(8 * 2**0.5)},
        ),
    }
    for name, (tuning, wanted) in variants.items():
        (tmp_path / name).mkdir()
        tuning.save(tuning.apply(tiny_model.open(tiny_base), tiny_model.task), tmp_path / name)
        body = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert {key: body[key] for key in wanted} == wanted


def test_incompatible_pissa_settings_are_rejected() -> None:
    from pydantic import ValidationError

    for other in ({"use_dora": True}, {"base_precision": "nf4"}, {"from_adapter": "earlier"}):
        with pytest.raises(ValidationError, match="cannot be combined with"):
            LoRA(init="pissa", **other)
    with pytest.raises(ValidationError):
        LoRA(init="pisa")
