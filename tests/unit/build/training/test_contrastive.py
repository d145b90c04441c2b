"""Contrastive training of a tiny encoder: it learns to find passages that share no letter with the query."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.files import Files
from framework.build.engine import open_engine
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.parallelism.single import Single
from framework.build.stages.merge import Merge
from framework.build.task.text_embedding import TextEmbeddings
from framework.build.training.batches import read_examples
from framework.build.training.contrastive import Contrastive
from framework.build.training.run import Folders, TrainingRun
from framework.build.tuning import Tuning
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.step import Workspace

WORDS = {"a": "z", "b": "y", "c": "x", "d": "w", "e": "v"}
MODEL = TinyEncoder(name="tiny", license="Apache-2.0", parameters=1e5, problem="embedding")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    MODEL.materialize(folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def rows(base: Path, prepare_rows: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every pair of letters; a passage has other letters, in another order."""
    folder = tmp_path_factory.mktemp("rows")
    pairs = [
        {"query": f"{one}{other}", "passage": f"{WORDS[other]} {WORDS[one]}"}
        for one, other in product(WORDS, WORDS)
    ]
    for split, chosen in (("train", pairs), ("test", pairs[::2])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in chosen))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    return prepare_rows(Files(**files, max_length=32, max_overlap=1.0), MODEL, base, folder / "rows")


def train(base: Path, rows: Path, output: Path, tuning: Tuning, **fields: Any) -> list[float]:
    output.mkdir()
    scratch = output.with_name(f"{output.name}-scratch")
    scratch.mkdir()
    run = TrainingRun(
        model=MODEL,
        tuning=tuning,
        parallelism=Single(),
        device="cpu",
        folders=Folders(model=base, data=rows, output=output, scratch=scratch),
        seed=0,
    )
    Contrastive(precision="fp32", **fields).fit(run)
    return [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]


def recall(folder: Path, rows: Path) -> float:
    engine = open_engine("torch", folder, 1)
    return TextEmbeddings().measure(engine, read_examples(rows / "test"))["recall_at_1"]


def test_full_tuning_finds_the_passages_with_accumulated_batches(base, rows, tmp_path) -> None:
    sizes = {"micro_batch_size": 8, "gradient_accumulation_steps": 2}
    losses = train(
        base, rows, tmp_path / "full", Full(), learning_rate=3e-3, max_steps=40, epochs=99, **sizes
    )
    assert losses[-1] < 0.5 * losses[0]
    merged = tmp_path / "merged"
    merged.mkdir()
    inputs = {"model": base, "tune": tmp_path / "full"}
    Merge(model=MODEL, tuning=Full()).run(inputs, merged, Workspace(tmp_path))
    assert recall(base, rows) < 0.5 < 0.8 <= recall(merged, rows)


def test_an_adapter_learns_and_its_merged_vectors_are_compared(base, rows, tmp_path, capsys) -> None:
    tuning = LoRA(rank=8, alpha=32)
    losses = train(base, rows, tmp_path / "lora", tuning, learning_rate=1e-2, max_steps=30, epochs=99)
    assert losses[-1] < losses[0]
    merged = tmp_path / "merged"
    merged.mkdir()
    inputs = {"model": base, "tune": tmp_path / "lora", "data": rows}
    Merge(model=MODEL, tuning=tuning).run(inputs, merged, Workspace(tmp_path))
    line = next(line for line in capsys.readouterr().err.splitlines() if "merged: loss" in line)
    assert float(line.split("loss ")[1].split()[0]) > 0, "the loss of a single row would always be 0"
    assert recall(merged, rows) > recall(base, rows)


RANKS = """
import sys
from layouts import fork_ranks, option
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.training.contrastive import Contrastive
from framework.build.training.run import Folders, TrainingRun

base, data, output, scratch = sys.argv[1:]
layout = option("parallelism", "ddp")
run = TrainingRun(
    model=TinyEncoder(name="tiny", license="Apache-2.0", parameters=1e5, problem="embedding"),
    tuning=option("tuning", "full"),
    parallelism=layout,
    device="cpu",
    folders=Folders(model=base, data=data, output=output, scratch=scratch),
    seed=0,
)
training = Contrastive(precision="fp32", learning_rate=3e-3, micro_batch_size=8, max_steps=12, epochs=99)
raise SystemExit(0 if fork_ranks(layout, lambda: training.fit(run)) else 1)
"""


@pytest.mark.slow
def test_two_processes_train_all_weights(base, rows, tmp_path) -> None:
    """BERT has a pooler that no vector uses; without a gradient of it the processes would not agree."""
    folders = [base, rows, tmp_path / "output", tmp_path / "scratch"]
    for folder in folders[2:]:
        folder.mkdir()
    layouts = Path(__file__).parents[1] / "parallelism"
    path = os.pathsep.join([str(layouts), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", RANKS, *map(str, folders)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line)["loss"] for line in (folders[2] / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 12
    assert losses[-1] < losses[0]


def test_a_lower_temperature_has_a_larger_loss_at_first(base, rows, tmp_path) -> None:
    options = {"learning_rate": 1e-5, "max_steps": 1}
    warm = train(base, rows, tmp_path / "warm", Full(), temperature=1.0, **options)
    cold = train(base, rows, tmp_path / "cold", Full(), temperature=0.001, **options)
    assert cold[0] > warm[0] + 0.5
