"""Random language models of any architecture of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def random_decoder(tiny_llama: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a small random model: ``random_decoder("Gemma3", "Gemma3TextConfig", sliding_window=8)``."""
    import torch
    import transformers

    def call(kind: str, config: str = "", **sizes: Any) -> Path:
        shape = {
            "vocab_size": 300,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 128,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }
        torch.manual_seed(0)
        made = getattr(transformers, config or f"{kind}Config")(**{**shape, **sizes})
        model = getattr(transformers, f"{kind}ForCausalLM")(made)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight *= 4  # far apart logits, so that a wrong mask or position is seen
        folder = tmp_path / "random"
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
        return folder

    return call
