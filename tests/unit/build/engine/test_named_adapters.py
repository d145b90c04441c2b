"""Which adapters can be served beside their base, and which are refused."""

from pathlib import Path

import pytest
from lora_adapters import changed, write_adapter

from framework.build.engine import Sampling, open_engine
from framework.build.engine.batches import open_adapted
from framework.core.errors import ServeError

PROMPT = [0, 10, 11, 12]
SAMPLING = Sampling(past_end=True)


@pytest.fixture(scope="module")
def adapter(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(tiny_llama, folder / "dora", folder / "merged", 3, use_dora=True)
    return folder / "dora"


def answer(batches, adapter: str | None) -> list[int]:
    batches.use(adapter)
    batches.submit(1, PROMPT, 12, SAMPLING)
    tokens: list[int] = []
    for _ in range(20):
        for progress in batches.step():
            tokens += progress.tokens
    return tokens


def test_adapter_equals_its_merged_model_and_the_base_stays(tiny_llama: Path, adapter: Path) -> None:
    bare, merged = (
        list(open_engine("torch", folder, 1).generate(PROMPT, 12, SAMPLING))
        for folder in (tiny_llama, adapter.parent / "merged")
    )
    assert bare != merged
    batches = open_adapted("torch", tiny_llama, 1, {"x": adapter})
    assert [answer(batches, name) for name in (None, "x", None, "x")] == [bare, merged, bare, merged]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "biases"),
        ({"target_modules": ["q_proj"]}, "does not match"),
        ({"r": 5}, "does not match"),
    ],
)
def test_what_is_no_lora_of_the_model_is_refused(tiny_llama, adapter, tmp_path, fields, why) -> None:
    with pytest.raises(ServeError, match=why):
        open_adapted("torch", tiny_llama, 1, {"x": changed(adapter, tmp_path / "changed", **fields)})


def test_engines_and_folders_without_adapters_are_refused(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="export=transformers"):
        open_adapted("genai", tiny_llama, 1, {"x": tmp_path})
    with pytest.raises(ServeError, match="no adapter"):
        open_adapted("torch", tiny_llama, 1, {"x": tmp_path})
