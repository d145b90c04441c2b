"""16-bit Hugging Face folders: transformers opens them, PyTorch computes in their dtype."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.build.compression import Exported
from framework.build.compression.bf16 import BFloat16
from framework.build.compression.fp16 import Float16
from framework.build.engine import open_engine
from framework.build.engine.bit_width import count_widths
from framework.build.engine.torch import open_model
from framework.build.export.transformers import Transformers
from framework.build.model import Model
from framework.core.errors import StepError

PROMPT = [5, 6, 7, 8]


def half(method: Any, folder: Path, model: Model, output: Path) -> Path:
    output.mkdir()
    method.compress(Exported(folder, Transformers(), folder, folder, model), output)
    return output


@pytest.mark.parametrize(
    ("method", "dtype", "near"), [(BFloat16(), torch.bfloat16, 0.1), (Float16(), torch.float16, 0.01)]
)
def test_pytorch_computes_in_the_folders_dtype(
    method: Any, dtype: torch.dtype, near: float, tiny_tuned: Path, tiny_model: Model, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = half(method, tiny_tuned, tiny_model, tmp_path / "half")
    assert count_widths(tiny_tuned).share(16) == 0
    assert count_widths(folder).share(16) == 1
    assert open_model(folder).dtype == dtype
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == dtype
    (wanted,), (given,) = (open_engine("torch", one).logits([PROMPT]) for one in (tiny_tuned, folder))
    assert given.dtype == np.float32
    assert 0 < np.abs(wanted - given).max() < near * np.abs(wanted).max()
    answers = [list(open_engine("torch", one).generate(PROMPT, 8)) for one in (tiny_tuned, folder)]
    assert answers[0]
    assert answers[0] == answers[1]


def test_float16_overflow_is_rejected(tiny_tuned: Path, tiny_model: Model, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    large = Path(shutil.copytree(tiny_tuned, tmp_path / "large"))
    weights = load_file(large / "model.safetensors")
    weights["model.norm.weight"][0] = 1e5
    save_file(weights, large / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepError, match=r"norm\.weight overflow; set compression=bf16"):
        half(Float16(), large, tiny_model, tmp_path / "fp16")
    half(BFloat16(), large, tiny_model, tmp_path / "bf16")
