"""Every task runs through all stages except publish, on tiny models, in this process."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from framework.build.data.files import Files
from framework.build.engine.attached_adapter import attach
from framework.build.evaluation.held_out import HeldOut
from framework.build.export import Export, Parity
from framework.build.export.onnx import Onnx
from framework.build.export.transformers import Transformers
from framework.build.model import Model
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.model.tiny_t5 import TinySeq2Seq
from framework.build.model.tiny_vilt import TinyImageText
from framework.build.parallelism.single import Single
from framework.build.stages.benchmark import Benchmark, Measure
from framework.build.stages.evaluate import Evaluate, read_metrics
from framework.build.stages.merge import Merge
from framework.build.stages.parity import CompareExports
from framework.build.stages.tune import Tune
from framework.build.training.contrastive import Contrastive
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning
from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.step import Workspace

ABOUT: dict[str, Any] = {"name": "tiny", "license": "Apache-2.0", "parameters": 1e5}


def _colors(rng: random.Random) -> dict[str, Any]:
    colors = rng.sample(["red", "green", "blue"], rng.randrange(4))
    return {"text": " ".join(rng.sample(["it", "is", *colors], 2 + len(colors))), "labels": colors}


def _parity(rng: random.Random) -> dict[str, Any]:
    number = rng.randrange(100)
    return {"prompt": f"{number}?", "completion": "odd one" if number % 2 else "even"}


def _picture(rng: random.Random) -> dict[str, Any]:
    """Return a row whose label depends on both the image and the text."""
    colors = {"red": (220, 30, 30), "blue": (30, 30, 220)}
    asked, shown = rng.choice(["color?", "nothing"]), rng.choice([*colors])
    picture = Image.new("RGB", (24, 16), colors[shown])
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return {"text": asked, "label": shown if asked == "color?" else "none", "png": stream.getvalue()}


def _numbers(rng: random.Random) -> dict[str, Any]:
    tokens, tags = [], []
    for _ in range(4):
        words = rng.choice([["to"], ["of"], ["7"], ["4", "km"], ["9", "sq", "m"]])
        tokens += words
        tags += ["O"] if words[0].isalpha() else ["B-size", *["I-size"] * (len(words) - 1)]
    return {"tokens": tokens, "tags": tags}


def _pairs(rng: random.Random) -> dict[str, Any]:
    """Return two letters and, as the passage, those at the same places from the end of the alphabet."""
    letters = sorted(rng.sample("abcdefg", 2))
    return {"query": "".join(letters), "passage": "".join(chr(219 - ord(one)) for one in reversed(letters))}


KINDS: dict[str, tuple[Model, Any, Export, str, float]] = {
    "multi-label": (
        TinyEncoder(**ABOUT, problem="multi-label", labels=("blue", "green", "red")),
        _colors,
        Onnx(),
        "micro_f1",
        0.8,
    ),
    "entities": (
        TinyEncoder(**ABOUT, problem="entities", labels=("size",)),
        _numbers,
        Onnx(),
        "span_f1",
        0.8,
    ),
    "image": (
        TinyImageText(**ABOUT, labels=("blue", "none", "red")),
        _picture,
        Transformers(),
        "accuracy",
        0.9,
    ),
    "embedding": (TinyEncoder(**ABOUT, problem="embedding"), _pairs, Onnx(), "recall_at_1", 0.8),
    "seq2seq": (TinySeq2Seq(**ABOUT), _parity, Transformers(), "exact_match", 0.8),
}


def build(stage: Any, inputs: dict[str, Path], output: Path) -> Path:
    output.mkdir()
    scratch = output.with_name(f"{output.name}-scratch")
    scratch.mkdir()
    stage.run(inputs, output, Workspace(scratch))
    return output


# The fast tests cover one that is exported as a graph; the others differ in their rows and heads only.
FAST = ("entities",)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in KINDS],
)
def kind(
    request: pytest.FixtureRequest, prepare_rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The model, rows and folders of one task."""
    model, make, export, metric, least = KINDS[request.param]
    folder, rng = tmp_path_factory.mktemp(request.param), random.Random(0)
    for split, count in (("train", 160), ("test", 40)):
        samples = [make(rng) for _ in range(count)]
        (folder / split).mkdir()
        for index, row in enumerate(samples):
            if png := row.pop("png", None):
                row["image"] = f"{index}.png"
                (folder / split / row["image"]).write_bytes(png)
        lines = "".join(json.dumps(row) + "\n" for row in samples)
        (folder / split / "rows.jsonl").write_text(lines)
    data = Files(train=str(folder / "train"), test=str(folder / "test"), max_length=64, max_overlap=1.0)
    base = folder / "base"
    model.materialize(base, seed=0)
    rows = prepare_rows(data, model, base, folder / "rows")
    options = {"model": model, "export": export, "metric": metric, "least": least}
    return {**options, "folder": folder, "base": base, "rows": rows}


def tune(kind: dict[str, Any], tuning: Tuning, name: str, **training: Any) -> Path:
    option = Contrastive if kind["model"].task == "text-embedding" else Supervised
    stage = Tune(
        model=kind["model"],
        tuning=tuning,
        training=option(precision="fp32", **training),
        parallelism=Single(),
        device="cpu",
        seed=0,
    )
    tuned = build(stage, {"model": kind["base"], "data": kind["rows"]}, kind["folder"] / name)
    curve = [json.loads(line)["loss"] for line in (tuned / "log.jsonl").read_text().splitlines()]
    assert sum(curve[-5:]) < 0.9 * sum(curve[:5])
    return tuned


def evaluate(kind: dict[str, Any], folder: Path, engine: str, name: str) -> dict[str, float]:
    stage = Evaluate(candidate=name, engine=engine, model=kind["model"], evaluation=HeldOut(generate_rows=5))
    inputs = {"candidate": folder, "data": kind["rows"], "data_model": kind["base"]}
    return read_metrics(build(stage, inputs, kind["folder"] / f"evaluate-{name}"))


def test_task_runs_through_every_stage(kind: dict[str, Any]) -> None:
    rate = 1e-3 if kind["model"].task == "image-text-classification" else 3e-3
    tuned = tune(kind, Full(), "full", learning_rate=rate, epochs=12)
    inputs = {"model": kind["base"], "tune": tuned}
    merged = build(Merge(model=kind["model"], tuning=Full()), inputs, kind["folder"] / "merged")
    metrics = evaluate(kind, merged, "torch", "tuned")
    before = evaluate(kind, kind["base"], "torch", "base")
    assert before[f"base.{kind['metric']}"] < kind["least"] <= metrics[f"tuned.{kind['metric']}"]
    export = kind["export"]
    exported = kind["folder"] / "exported"
    exported.mkdir()
    export.write(merged, exported)
    task, engine = kind["model"].task, export.engine
    assert task in export.tasks
    shipped = evaluate(kind, exported, engine, "fp32")
    assert shipped == {
        f"fp32.{name.partition('.')[2]}": pytest.approx(value, abs=1e-4) for name, value in metrics.items()
    }
    stage = CompareExports(parity=Parity(), task=task, engine=engine, candidates=("fp32",))
    inputs = {"model": merged, "data": kind["rows"], "fp32": exported}
    compared = read_metrics(build(stage, inputs, kind["folder"] / "parity"))
    assert set(compared) == {f"fp32.{name}" for name in CompareExports.metrics(task, Parity(), engine)}
    assert compared["fp32.max_difference"] < 1e-4
    assert compared["fp32.agreement"] == 1.0
    timing = Benchmark(prompt_tokens=8, new_tokens=3, repeats=1, batch_sizes=(1, 2))
    measure = Measure(benchmark=timing, task=task, engines={"fp32": engine})
    speeds = read_metrics(build(measure, {"fp32": exported}, kind["folder"] / "speeds"))
    assert set(speeds) == {f"fp32.{name}" for name in Measure.metrics(task)}


def test_adapter_trains_its_head_and_merges(kind: dict[str, Any]) -> None:
    tuning = LoRA(rank=4, alpha=8)
    tuned = tune(kind, tuning, "lora", learning_rate=1e-2, epochs=3)
    model = kind["model"]
    merged = tuning.merge(model.open(kind["base"]), tuned).eval()
    adapted = attach(model.open(kind["base"]), tuned)
    ids = torch.arange(10, 22)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.task == "image-text-classification":
        inputs["pixel_values"] = torch.zeros(1, 3, 32, 32)
    if model.task == "seq2seq":
        inputs["decoder_input_ids"] = ids[:, :4]
    with torch.no_grad():
        merged_logits, adapted_logits = merged(**inputs)[0], adapted(**inputs)[0]
        base_logits = model.open(kind["base"])(**inputs)[0]
    assert (merged_logits - adapted_logits).abs().max() < 1e-5
    assert (merged_logits - base_logits).abs().max() > 1e-2
    if model.task not in ("seq2seq", "text-embedding"):
        heads = [
            dict(classifier.classifier.named_parameters())
            for classifier in (merged, model.open(kind["base"]))
        ]
        assert all(not torch.equal(weight, heads[1][name]) for name, weight in heads[0].items())
    frozen, trained = dict(model.open(kind["base"]).named_parameters()), dict(adapted.named_parameters())
    embedding = next(name for name in frozen if "embed" in name or name == "shared.weight")
    assert torch.equal(frozen[embedding], trained[f"base_model.model.{embedding}"])
