"""What a plan says of a deployment target before anything runs, and the override that mends it."""

import pytest

from framework.core.errors import PlanError

CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates", "compression=none")
CHAT = ("export=transformers", "compression=none", "~gates")


def refused(plan, *words):
    with pytest.raises(PlanError) as caught:
        plan("+recipe=tiny", *words)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    ("words", "said", "mend"),
    [
        (
            ("deployment=vllm", "~gates"),
            "deployment: this target runs torch, the export is for genai; "
            "set export=transformers compression=none, or deployment=kubernetes",
            ("deployment=vllm", *CHAT),
        ),
        (
            ("deployment=triton",),
            "deployment: this target answers sequence-classification, multi-label-classification, "
            "token-classification, the model is for causal-lm; set deployment=kubernetes",
            ("deployment=kubernetes",),
        ),
        (
            ("deployment=triton", *CLASSIFIER, "export=transformers"),
            "deployment: this target runs onnxruntime or tensorrt, the export is for torch; "
            "set export=onnx, or deployment=kubernetes",
            ("deployment=triton", *CLASSIFIER, "export=onnx"),
        ),
        (
            ("deployment=vllm", *CHAT, "tuning=prompt"),
            "deployment: what this tuning method trains",
            ("deployment=vllm", *CHAT, "tuning=lora"),
        ),
        (
            ("deployment=kserve", "environment=production"),
            "deployment.image: 'gitune/server:0.1.0' is not pinned",
            ("deployment=kserve", f"deployment.image=gitune/server@sha256:{'a' * 64}"),
        ),
    ],
)
def test_a_target_that_cannot_serve_what_is_built_names_what_mends_it(plan, words, said, mend):
    assert any(line.startswith(said) for line in refused(plan, *words)), refused(plan, *words)
    plan("+recipe=tiny", *mend)


def test_a_compiled_engine_of_another_library_is_refused(plan):
    words = (*CLASSIFIER, "export=tensorrt", "deployment=triton", "deployment.gpus=1")
    assert any("set export.runtime=tensorrt or export=onnx" in line for line in refused(plan, *words))
