"""What a plan reports about a deployment target before anything runs."""

import pytest

CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates", "compression=none")
CHAT = ("export=transformers", "compression=none", "~gates")
PINNED = (f"deployment.image=a/b@sha256:{'a' * 64}", f"deployment.fetch_image=a/b@sha256:{'a' * 64}")


@pytest.mark.parametrize(
    ("words", "key", "overrides"),
    [
        (
            ("deployment=vllm", "export=onnx-genai", "~gates"),
            "deployment",
            ("export=transformers compression=none", "deployment=kubernetes"),
        ),
        # vLLM's own export is the default with it, and no other export is suggested.
        (("deployment=vllm", "~gates"), "compression.int4-weight", ("compression=none",)),
        (("name=shared",), "name", ("name=<name>",)),
        (("deployment=triton",), "deployment", ("deployment=kubernetes",)),
        (
            ("deployment=triton", *CLASSIFIER, "export=transformers"),
            "deployment",
            ("export=onnx", "deployment=kubernetes"),
        ),
        (
            ("deployment=vllm", *CHAT, "tuning=prompt"),
            "deployment",
            ("tuning=lora", "deployment=kubernetes"),
        ),
        (
            ("deployment=vllm", *CHAT, "autoscaling=hpa"),
            "autoscaling",
            (
                "autoscaling=keda monitoring=prometheus",
                "autoscaling.waiting_per_pod=4",
                "autoscaling=fixed",
            ),
        ),
        (
            ("deployment.gpus=1", "autoscaling=keda"),
            "autoscaling",
            ("monitoring=prometheus", "autoscaling=fixed"),
        ),
        (
            ("deployment=kserve", "deployment.gpus=1"),
            "deployment.gpus",
            ("deployment.gpus=0", "deployment=kubernetes autoscaling=keda monitoring=prometheus"),
        ),
        (
            ("deployment=kserve", "environment=production"),
            "deployment.image",
            ("deployment.image=gitune/server:0.1.0@sha256:<digest>",),
        ),
    ],
)
def test_rule_names_its_key_and_overrides_that_plan(fixes, words, key, overrides):
    problem = next(each for each in fixes("+recipe=tiny", *words) if each.key == key)
    assert problem.overrides == overrides


def test_seven_billion_weights_need_more_than_the_default_time(fixes):
    words = ("+recipe=tiny", "model=qwen2.5-7b", *CHAT, "environment.hardware.memory_gib=1000")
    problem = next(each for each in fixes(*words) if each.key == "deployment.startup_seconds")
    assert problem.overrides == ("deployment.startup_seconds=80",)


def test_public_host_outside_dev_needs_a_key(fixes, problems):
    words = ("+recipe=tiny", "traffic=gateway-api", "environment.domain=models.example.com")
    assert not problems(*words)
    (problem,) = fixes(*words, "environment=staging", PINNED[0])
    assert problem.overrides[0] == "deployment.api_key_secret={name:<name>}"
