"""What a plan says of an export before anything runs, and the override that mends it."""

import pytest

from framework.core.errors import PlanError
from framework.plan.rules import export as export_rules

CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates", "compression=none")
ENGINE = (*CLASSIFIER, "export=tensorrt", "deployment.gpus=1")


def refused(plan, *words: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan("+recipe=tiny", *words)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    ("words", "said", "mend"),
    [
        (
            ("export=gguf",),
            "export: no package that llama.cpp publishes converts a model to GGUF; set export=onnx-genai",
            "export=onnx-genai",
        ),
        (
            (*CLASSIFIER, "export=gguf"),
            "export: this exporter is for causal-lm, the model is for sequence-classification; "
            "set export=onnx",
            "export=onnx",
        ),
        (
            ("compression=binary",),
            "compression.binary: weights of one bit serve purpose-built chips (ASICs) alone",
            "compression=int4-weight",
        ),
        (
            (*ENGINE, "export.length.opt=8", "export.length.max=16"),
            "export.length.max: the engine takes rows of 16 tokens, data.max_length is 128; "
            "set export.length.max=128 or data.max_length=16",
            "export.length.max=128",
        ),
        (
            (*ENGINE, "export.runtime=tensorrt"),
            "export.runtime: tensorrt builds on the GPU that will run the engine, and "
            "environment.hardware.device is cpu; set export.runtime=tensorrt-rtx",
            "export.runtime=tensorrt-rtx",
        ),
        (
            (*CLASSIFIER, "export=tensorrt"),
            "deployment.gpus: tensorrt runs on a GPU alone, and the pods have none; set deployment.gpus=1",
            "deployment.gpus=1",
        ),
        (
            (*ENGINE, "compression=bf16"),
            "compression.bf16: works on exports for torch, tensorrt, this one is for onnxruntime; "
            "set export=transformers or compression=none",
            "compression=none",
        ),
    ],
)
def test_what_cannot_work_names_what_can(plan, monkeypatch, words, said, mend) -> None:
    monkeypatch.setattr(export_rules, "installed", lambda distribution: True)
    lines = refused(plan, *words)
    assert lines[0].startswith(said)
    assert mend.removeprefix("+") in lines[0]
    monkeypatch.undo()
    assert plan("+recipe=tiny", *words, mend).steps


def test_without_a_gpu_the_plan_says_who_judges_the_engine(plan) -> None:
    made = plan("+recipe=tiny", *ENGINE, "compression=fp16")
    (said,) = (line for line in made.warnings if line.startswith("export:"))
    assert "runs no tensorrt engine; it is built, and onnxruntime evaluates" in said
    assert made.step("evaluate fp16").stage.engine == "onnxruntime"
    assert made.step("parity").stage.engine == "onnxruntime"
    assert made.step("publish").stage.engine == "tensorrt"


def test_on_a_gpu_the_engine_itself_is_measured(plan) -> None:
    made = plan("+recipe=tiny", *ENGINE, "compression=bf16", "environment.hardware.device=cuda")
    assert made.step("evaluate bf16").stage.engine == "tensorrt"
    assert not [line for line in made.warnings if line.startswith("export:")]


@pytest.mark.parametrize(
    ("words", "missing", "said"),
    [
        (ENGINE, "tensorrt-rtx-cu13", "export: needs tensorrt-rtx-cu13; pip install 'gitune[tensorrt-rtx]'"),
        (
            (*CLASSIFIER, "export=onnx", "compression=fp16"),
            "polygraphy",
            "compression: needs polygraphy; pip install 'gitune[compress]'",
        ),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(plan, monkeypatch, words, missing, said) -> None:
    monkeypatch.setattr(export_rules, "installed", lambda distribution: distribution != missing)
    assert refused(plan, *words) == [said]


def test_a_folder_for_pytorch_needs_nothing_to_become_smaller(plan, monkeypatch) -> None:
    monkeypatch.setattr(export_rules, "installed", lambda distribution: False)
    assert plan("+recipe=tiny", "export=transformers", "compression=bf16").step("compress bf16")
