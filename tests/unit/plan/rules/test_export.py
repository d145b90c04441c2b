"""What a plan reports about an export before anything runs."""

import pytest

from framework.core import step
from framework.plan.rules import install

CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates", "compression=none")
ENGINE = (*CLASSIFIER, "export=tensorrt", "deployment.gpus=1", "autoscaling=fixed")
TRITON = (*ENGINE, "deployment=triton", "export.runtime=tensorrt", "environment.hardware.device=cuda")


@pytest.fixture
def everything_installed(monkeypatch) -> None:
    monkeypatch.setattr(install, "installed", lambda distribution: True)
    monkeypatch.setattr(step, "_version", lambda distribution: "1")


@pytest.mark.usefixtures("everything_installed")
@pytest.mark.parametrize(
    ("words", "key", "overrides"),
    [
        (("export=gguf",), "export", ("export=onnx-genai compression=int4-weight",)),
        ((*CLASSIFIER, "export=gguf"), "export", ("export=onnx",)),
        (("compression=binary",), "compression.binary", ("compression=int4-weight",)),
        (
            (*ENGINE, "export.length.opt=8", "export.length.max=16"),
            "export.length.max",
            ("export.length.max=128", "data.max_length=16"),
        ),
        (
            (*ENGINE, "export.runtime=tensorrt"),
            "export.runtime",
            ("export.runtime=tensorrt-rtx",),
        ),
        (
            (*CLASSIFIER, "export=tensorrt"),
            "deployment.gpus",
            ("deployment.gpus=1 autoscaling=keda monitoring=prometheus",),
        ),
        (
            (*ENGINE, "compression=bf16"),
            "compression.bf16",
            ("export=transformers", "compression=none"),
        ),
        (
            (*ENGINE, "deployment=triton", "environment.hardware.device=cuda"),
            "export.runtime",
            ("export.runtime=tensorrt", "export=onnx"),
        ),
        (
            (*TRITON, "serving.max_batch_size=33"),
            "serving.max_batch_size",
            ("serving.max_batch_size=32",),
        ),
        (
            (*TRITON, "deployment.warmup_tokens=513"),
            "deployment.warmup_tokens",
            ("deployment.warmup_tokens=512",),
        ),
    ],
)
def test_rule_names_its_key_and_overrides_that_plan(fixes, words, key, overrides) -> None:
    problem = fixes("+recipe=tiny", *words)[0]
    assert (problem.key, problem.overrides) == (key, overrides)


def test_engine_is_judged_by_its_graph_without_a_gpu(plan) -> None:
    made = plan("+recipe=tiny", *ENGINE, "compression=fp16")
    (caution,) = (each for each in made.warnings if each.key == "export")
    assert "tensorrt" in caution.reason
    assert "onnxruntime" in caution.reason
    assert made.step("evaluate fp16").stage.engine == "onnxruntime"
    assert made.step("parity").stage.engine == "onnxruntime"
    assert made.step("publish").stage.engine == "tensorrt"


def test_engine_itself_is_judged_on_a_gpu(plan) -> None:
    made = plan("+recipe=tiny", *ENGINE, "compression=bf16", "environment.hardware.device=cuda")
    assert made.step("evaluate bf16").stage.engine == "tensorrt"
    assert not [each for each in made.warnings if each.key == "export"]


@pytest.mark.parametrize(
    ("words", "missing", "key", "extra"),
    [
        (ENGINE, "tensorrt-rtx-cu13", "export", "tensorrt-rtx"),
        ((*CLASSIFIER, "export=onnx", "compression=fp16"), "polygraphy", "compression", "compress"),
    ],
)
def test_missing_package_is_a_warning_that_names_its_extra(
    plan, monkeypatch, words, missing, key, extra
) -> None:
    monkeypatch.setattr(install, "installed", lambda distribution: distribution != missing)
    (problem,) = (each for each in plan("+recipe=tiny", *words).warnings if missing in each.reason)
    assert (problem.key, problem.overrides) == (key, ())
    assert problem.advice == f"pip install 'gitune[{extra}]'"


def test_pytorch_folder_needs_no_package_to_be_compressed(plan, monkeypatch) -> None:
    monkeypatch.setattr(install, "installed", lambda distribution: False)
    made = plan("+recipe=tiny", "export=transformers", "compression=bf16")
    assert made.step("compress bf16")
    assert made.warnings == ()
