"""``compile``: the same training with compiled kernels."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from framework.build.training import preparation
from framework.build.tuning.lora import LoRA
from framework.core.errors import StepError

Fit = Callable[..., Path]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use no compiled code of another test, and leave none behind."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.environ.get("TORCHINDUCTOR_CACHE_DIR", ""))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from the compiler
@pytest.mark.parametrize(
    ("tuning", "options"),
    [
        (LoRA(rank=4), {}),
        (LoRA(rank=4), {"packing": False, "gradient_checkpointing": True}),
    ],
    ids=["packed", "padded-recomputed"],
)
def test_compiled_training_equals_eager_training(
    fit: Fit, fresh: None, tmp_path: Path, tuning: Any, options: dict[str, Any]
) -> None:
    options = {"epochs": 2, "learning_rate": 1e-3, **options}
    plain = fit("plain", tuning, **options)
    compiled = fit("compiled", tuning, compile=True, **options)
    assert losses(compiled) == pytest.approx(losses(plain), abs=1e-4)
    (file,) = (path.name for path in plain.glob("*.safetensors"))
    one, other = load_file(plain / file), load_file(compiled / file)
    assert one.keys() == other.keys()  # without torch.compile's prefix _orig_mod
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4
    assert sorted(path.name for path in compiled.iterdir()) == sorted(path.name for path in plain.iterdir())
    cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert cache.parts[-2:] == ("cache", "inductor")
    assert any(cache.rglob("*.cpp")), "nothing was compiled"


def test_missing_compiler_is_reported(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation.shutil, "which", lambda name: None)
    with pytest.raises(StepError, match=r"no C\+\+ compiler .* set training.compile=false$"):
        fit("a", LoRA(), compile=True)
