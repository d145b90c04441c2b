"""Adapters beside an OpenVINO release: each answers as its merged model does, also in a mixed batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lora_adapters import changed, write_adapter

from framework.build.engine import AdaptedBatches, Sampling, open_engine
from framework.build.engine.batches import open_adapted
from framework.core.errors import ServeError

pytest.importorskip("openvino_genai")

PROMPTS = ([0, 10, 11, 12], [0, 30, 31, 32, 33, 34], [0, 10, 11, 12, 40, 41])
SAMPLING = Sampling(past_end=True)
OPTIONS: dict[str, dict[str, Any]] = {
    "first": {},
    "second": {"use_rslora": True, "rank_pattern": {"q_proj": 2}},
}


@pytest.fixture(scope="module")
def adapters(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of adapters; beside each is its merged model, as torch opens it."""
    root = tmp_path_factory.mktemp("adapters")
    for seed, (name, options) in enumerate(OPTIONS.items()):
        write_adapter(tiny_llama, root / name / "adapter", root / name / "merged", seed, **options)
    return {name: root / name / "adapter" for name in OPTIONS}


@pytest.fixture(scope="module")
def expected(tiny_llama: Path, adapters: dict[str, Path]) -> dict[tuple[str | None, int], list[int]]:
    folders = {None: tiny_llama, **{name: folder.parent / "merged" for name, folder in adapters.items()}}
    answers = {}
    for name, folder in folders.items():
        engine: Any = open_engine("torch", folder, 1)
        for number, prompt in enumerate(PROMPTS):
            answers[name, number] = list(engine.generate(prompt, 24, SAMPLING))
    assert len({tuple(answer) for answer in answers.values()}) == len(answers), "each must be its own"
    return answers


def answered(batches: AdaptedBatches, asked: Sequence[tuple[str | None, int]]) -> list[list[int]]:
    """Let *batches* answer; a request joins after each two steps."""
    answers: list[list[int]] = [[] for _ in asked]
    waiting, running = list(enumerate(asked)), 0
    while waiting or running:
        if waiting and running < batches.width:
            request, (adapter, number) = waiting.pop(0)
            batches.use(adapter)
            batches.submit(request, PROMPTS[number], 24, SAMPLING)
            running += 1
        for _ in range(2):
            for progress in batches.step():
                answers[progress.request] += progress.tokens
                running -= progress.ended
    return answers


def test_each_adapter_equals_its_merged_model_in_a_mixed_batch(tiny_openvino, adapters, expected) -> None:
    """Prompts repeat and share prefixes: no adapter may read another's keys and values."""
    batches = open_adapted("openvino", tiny_openvino, 1, adapters, 4)
    assert batches.joins
    asked = [(name, number) for number in range(3) for name in (None, "first", "second")] * 2
    assert answered(batches, asked) == [expected[each] for each in asked]
    batches.use("first")
    batches.submit(1, PROMPTS[0], 24, SAMPLING)
    batches.step()
    batches.cancel(1)
    assert batches.step() == []
    assert answered(batches, [("second", 0), ("first", 0)]) == [expected["second", 0], expected["first", 0]]


def test_adapter_beside_compressed_weights(tiny_openvino, tiny_llama, adapters, tmp_path) -> None:
    """What was chosen is nearly the likeliest of the merged model, and is not of the bare one."""
    from framework.build.export.openvino import OpenVino

    OpenVino().compress_weights(tiny_openvino, tiny_llama, tmp_path, "int8")
    bare: Any = open_engine("torch", tiny_llama, 1)
    merged: Any = open_engine("torch", adapters["first"].parent / "merged", 1)
    batches = open_adapted("openvino", tmp_path, 1, {"first": adapters["first"]}, 4)
    (answer,) = answered(batches, [("first", 1)])
    places = np.arange(len(answer)) + len(PROMPTS[1]) - 1
    short = [
        float((scores[places].max(-1) - scores[places, answer]).mean())
        for scores in (engine.logits([[*PROMPTS[1], *answer]])[0] for engine in (merged, bare))
    ]
    assert short[0] < 0.05 * short[1]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "biases"),
        ({"use_dora": True}, "use_dora"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
    ],
)
def test_what_the_runtime_cannot_add_is_refused(tiny_openvino, adapters, tmp_path, fields, why) -> None:
    with pytest.raises(ServeError, match=why):
        open_adapted(
            "openvino", tiny_openvino, 1, {"x": changed(adapters["first"], tmp_path / "x", **fields)}
        )


def rewritten(adapter: Path, folder: Path, change: Any) -> Path:
    """Return a copy of *adapter* with matrices that *change* made of its own."""
    from safetensors.torch import load_file, save_file

    changed(adapter, folder)
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
    return folder


def test_every_matrix_has_its_layer(tiny_openvino: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    other, wide, half = (
        rewritten(adapters["first"], tmp_path / name, change)
        for name, change in {
            "other": lambda all_: {key.replace("layers.1", "layers.7"): value for key, value in all_.items()},
            "wide": lambda all_: {key: value.repeat(1, 2) for key, value in all_.items()},
            "half": lambda all_: {key: value for key, value in all_.items() if "q_proj.lora_B" not in key},
        }.items()
    )
    for folder, why in ((other, "layers.7"), (wide, "other sizes"), (half, "other sizes")):
        with pytest.raises(ServeError, match=why):
            open_adapted("openvino", tiny_openvino, 1, {"x": folder})


def test_half_precision_is_read(tiny_openvino: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    import torch

    from framework.build.engine.openvino_adapters import _read

    for kind in (torch.float16, torch.bfloat16):
        folder = rewritten(
            adapters["first"],
            tmp_path / str(kind),
            lambda all_, kind=kind: {key: value.to(kind) for key, value in all_.items()},
        )
        matrices = _read(folder / "adapter_model.safetensors")
        for key, value in _read(adapters["first"] / "adapter_model.safetensors").items():
            assert np.array_equal(matrices[key], torch.from_numpy(value).to(kind).float().numpy())


def test_graph_without_names_says_what_to_do(tiny_openvino: Path, adapters, tmp_path: Path) -> None:
    for file in tiny_openvino.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    graph = tmp_path / "openvino_model.xml"
    graph.write_text(graph.read_text().replace("__module.", "m."))
    with pytest.raises(ServeError, match="export the model again"):
        open_adapted("openvino", tmp_path, 1, {"x": adapters["first"]})
