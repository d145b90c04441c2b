from pathlib import Path

import pytest
import torch

from framework.build.model import Model
from framework.build.model.tiny import TinyCausalLM


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes(tiny_model: Model, tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        tiny_model.materialize(tmp_path / name, seed)
    assert torch.equal(before, torch.get_rng_state())
    assert everything(tmp_path / "same") == everything(tiny_base)
    other = everything(tmp_path / "other")
    assert other["model.safetensors"] != everything(tiny_base)["model.safetensors"]
    assert other["tokenizer.json"] == everything(tiny_base)["tokenizer.json"]


def test_any_text_survives_the_tokenizer(tiny_model: Model, tiny_base: Path) -> None:
    tokenizer = tiny_model.tokenizer(tiny_base)
    for text in ("plain", "ünïcode 漢字 🙂", " two  spaces \n\t"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("hidden_size", [64, 128])
def test_configured_shape_is_applied(tmp_path: Path, hidden_size: int) -> None:
    option = TinyCausalLM(
        name="t", license="x", parameters=1e5, layers=1, hidden_size=hidden_size, context=32
    )
    option.materialize(tmp_path, 0)
    config = option.open(tmp_path).config
    assert (config.num_hidden_layers, config.hidden_size) == (1, hidden_size)
    assert config.max_position_embeddings == 32
