"""Fixtures that run a compression as a plan does: reshape, tune and merge, or export and compress."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.compression import Exported, ModelCompression
from framework.build.export import Export
from framework.build.model import Model
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.parallelism.single import Single
from framework.build.stages.compress import Reshape
from framework.build.stages.merge import Merge
from framework.build.stages.tune import Tune
from framework.core.step import Workspace

LOOK = """
import sys, torch, transformers
folder, saved = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
with torch.inference_mode():
    torch.save(model(torch.arange(3, 40)[None]).logits, saved)
"""


@pytest.fixture
def compressed(tmp_path: Path) -> Callable[..., Path]:
    """Run the steps of a ``ModelCompression`` and return its last folder, ``tmp_path/<name>``."""

    def make(
        name: str,
        option: ModelCompression,
        model: Model,
        folder: Path,
        data: Path,
        teacher: Path | None = None,
    ) -> Path:
        output = tmp_path / name
        output.mkdir()
        if option.reshapes:
            folder, output = reshaped(name, option, model, folder, data), output
        if option.tuning is None or option.training is None:
            return folder
        tuned, scratch = tmp_path / f"{name}-tuned", tmp_path / f"{name}-scratch"
        tuned.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        stage = Tune(
            model=model,
            tuning=option.tuning,
            training=option.training,
            parallelism=Single(),
            device="cpu",
            seed=0,
        )
        inputs = {"model": folder, "data": data} | ({"teacher": teacher} if teacher else {})
        stage.run(inputs, tuned, Workspace(scratch))
        merge = Merge(model=model, tuning=option.tuning)
        merge.run({"model": folder, "tune": tuned}, output, Workspace(output))
        return output

    def reshaped(name: str, option: ModelCompression, model: Model, folder: Path, data: Path) -> Path:
        output = tmp_path / f"{name}-reshaped"
        output.mkdir()
        Reshape(compression=option, model=model).run(
            {"model": folder, "data": data}, output, Workspace(output)
        )
        return output

    return make


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., Any]:
    """Open a folder with unmodified transformers in another process; return its logits for a fixed row."""

    def look(folder: Path) -> Any:
        import torch

        saved = tmp_path / "outside.pt"
        command = [sys.executable, "-c", LOOK, str(folder), str(saved)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return torch.load(saved)

    return look


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A three-class tiny BERT and its folder."""
    option = TinyEncoder(name="bert", license="x", parameters=1e5, labels=("up", "down", "flat"))
    folder = tmp_path_factory.mktemp("tiny-classifier")
    option.materialize(folder, seed=0)
    return option, folder


@pytest.fixture(scope="session")
def write_rows() -> Callable[..., None]:
    """Write random training rows of unequal length as the data step does."""

    def write(folder: Path, count: int = 12) -> None:
        import numpy as np
        import torch
        from safetensors.torch import save_file

        draw = np.random.default_rng(0)
        rows = [draw.integers(4, 250, draw.integers(4, 40)).tolist() for _ in range(count)]
        stored = {
            "input_ids": torch.tensor([token for row in rows for token in row], dtype=torch.int32),
            "labels": torch.zeros(count, dtype=torch.int32),
            "input_lengths": torch.tensor([len(row) for row in rows], dtype=torch.int64),
            "label_lengths": torch.ones(count, dtype=torch.int64),
        }
        save_file(stored, folder / "train.safetensors")

    return write


@pytest.fixture(scope="session")
def export_of(
    write_rows: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Exported]:
    """Materialize and export a model, and write training rows: the input of an ``ExportCompression``."""

    def make(model: Model, exporter: Export, count: int = 12) -> Exported:
        source, exported, data = (tmp_path_factory.mktemp(name) for name in ("source", "exported", "data"))
        model.materialize(source, seed=0)
        exporter.write(source, exported)
        write_rows(data, count)
        return Exported(exported, exporter, source, data, model)

    return make
