"""LoRA adapters of the tiny Llama, as peft writes them, and their merged models."""

import json
from pathlib import Path

TARGETS = ["q_proj", "v_proj", "down_proj"]


def write_adapter(base: Path, adapter: Path, merged: Path, seed: int, **options: object) -> None:
    """Write an adapter with random weights that change every answer, and *base* with it merged in."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from framework.build.engine.attached_adapter import without_known_warnings

    torch.manual_seed(seed)
    fields = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **options}
    with without_known_warnings():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**fields))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
    model.save_pretrained(adapter)
    model.merge_and_unload().save_pretrained(merged)
    AutoTokenizer.from_pretrained(base).save_pretrained(merged)


def changed(adapter: Path, folder: Path, **fields: object) -> Path:
    """Return a copy of *adapter* whose config has other *fields*."""
    folder.mkdir()
    for file in adapter.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    return folder
