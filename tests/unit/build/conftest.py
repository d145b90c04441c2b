"""Further formats of the tiny Llama, and the artifacts of the first steps of the recipe ``tiny``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from framework.build.model import Model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def tiny_onnx(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as an ONNX graph with its cache as inputs and outputs, float32."""
    from framework.build.export.onnx import Onnx

    folder = tmp_path_factory.mktemp("tiny-onnx")
    Onnx().write(tiny_llama, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(
    tiny_model: "Model",
    tiny_base: Path,
    prepare_rows: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The artifact of the recipe's step ``encode``: 32 training rows, 8 test rows."""
    from framework.build.data.files import Files

    folder = tmp_path_factory.mktemp("tiny-data")
    rows = ROOT / "recipes" / "data" / "tiny"
    data = Files(train=str(rows / "train.jsonl"), test=str(rows / "test.jsonl"), max_length=128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITUNE_CACHE", str(tmp_path_factory.mktemp("hashes")))
        return prepare_rows(data, tiny_model, tiny_base, folder)


@pytest.fixture(scope="session")
def tiny_tuned(tiny_model: "Model", tiny_base: Path, tiny_data: Path, tmp_path_factory: Any) -> Path:
    """A merged folder: the tiny model after full tuning, so that its answers are confident."""
    from framework.build.parallelism.single import Single
    from framework.build.stages.merge import Merge
    from framework.build.stages.tune import Tune
    from framework.build.training.supervised import Supervised
    from framework.build.tuning.full import Full
    from framework.core.step import Workspace

    tuned, merged = tmp_path_factory.mktemp("tiny-tuned"), tmp_path_factory.mktemp("tiny-merged")
    training = Supervised(learning_rate=3e-3, epochs=20, precision="fp32")
    stage = Tune(
        model=tiny_model, tuning=Full(), training=training, parallelism=Single(), device="cpu", seed=0
    )
    stage.run({"model": tiny_base, "data": tiny_data}, tuned, Workspace(tmp_path_factory.mktemp("scratch")))
    inputs = {"model": tiny_base, "tune": tuned}
    Merge(model=tiny_model, tuning=Full()).run(inputs, merged, Workspace(merged))
    return merged
