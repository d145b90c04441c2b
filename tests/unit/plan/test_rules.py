import re

import pytest

from framework.core.errors import PlanError

ROWS = '{"prompt": "a", "completion": "b"}\n'


def problems(call) -> list[str]:
    with pytest.raises(PlanError) as caught:
        call()
    assert caught.value.exit_code == 2
    first, *lines = str(caught.value).split("\n  ")
    assert first == "The plan cannot run:"
    return lines


CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates")


@pytest.mark.parametrize(
    ("words", "said", "mend"),
    [
        (
            (*CLASSIFIER, "compression=none"),
            "export: this exporter is for causal-lm, the model is for sequence-classification; "
            "set export=onnx",
            "export=onnx",
        ),
        (
            (*CLASSIFIER, "compression=w4a8"),
            "export: this exporter is for causal-lm, the model is for sequence-classification; "
            "set export=onnx compression=int8-dynamic",
            "export=onnx compression=int8-dynamic",
        ),
        (
            ("tuning=prompt", "export=onnx", "compression=int8-dynamic"),
            "tuning: what this method trains cannot become part of the weights, which this exporter needs; "
            "set export=transformers compression=none, or a method that merges such as tuning=lora",
            "tuning=lora",
        ),
        (
            ("compression=int8-dynamic",),
            "compression.int8-dynamic: works on exports for onnxruntime, this one is for genai; "
            "set export=onnx or compression=int4-weight or compression=none",
            "compression=int4-weight",
        ),
        (
            ("export=transformers",),
            "compression.int4-weight: works on exports for genai, openvino, onnxruntime, this one is for "
            "torch; set export=onnx-genai or export=onnx or export=openvino or compression=none",
            "compression=none",
        ),
        (
            (
                "tuning=prefix",
                "export=transformers",
                "compression=none",
                "+training.gradient_checkpointing=true",
            ),
            "training.gradient_checkpointing: this tuning method cannot compute layers again; "
            "set training.gradient_checkpointing=false",
            "training.gradient_checkpointing=false",
        ),
        (
            ("training.micro_batch_size=auto",),
            "training.micro_batch_size: auto needs the whole; set training.global_batch_size=32",
            "+training.global_batch_size=32",
        ),
        (
            ("training.micro_batch_size=auto", "+training.global_batch_size=32", "parallelism=ddp"),
            "training.micro_batch_size: auto is for one process; set training.micro_batch_size=8",
            "training.micro_batch_size=8",
        ),
        (
            ("training.micro_batch_size=3", "+training.global_batch_size=32"),
            "training.global_batch_size: 32 rows are no whole number of micro batches of 3 on 1 devices; "
            "set training.global_batch_size=33",
            "+training.global_batch_size=33",
        ),
        (
            ("+training.gradient_accumulation_steps=2", "+training.global_batch_size=32"),
            "training.global_batch_size: decides how much is accumulated; "
            "set training.gradient_accumulation_steps=1",
            "+training.gradient_accumulation_steps=1",
        ),
        (
            ("+training.validation.keep=best",),
            "training.validation: keep=best needs rows to measure; set training.validation.share=0.05",
            "+training.validation.share=0.05",
        ),
        (
            ("+training.validation.patience=2",),
            "training.validation: patience needs rows to measure; set training.validation.share=0.05",
            "+training.validation.share=0.05",
        ),
        (
            ("tuning=adalora", "+training.ema_decay=0.9"),
            "training.ema_decay: this tuning method changes its weights between steps; "
            "set training.ema_decay=0",
            "+training.ema_decay=0",
        ),
        (
            ("parallelism=fsdp2", "tuning=adalora"),
            "parallelism: AdaLoRA cannot train weights whose parts are kept by different processes; "
            "set parallelism=ddp or tuning=lora",
            "parallelism=ddp",
        ),
        (
            ("parallelism=deepspeed-3", "tuning=qlora"),
            "parallelism: LoRA cannot train weights whose parts are kept by different processes; "
            "set parallelism=deepspeed-2 or tuning=lora",
            "parallelism=deepspeed-2",
        ),
        (
            ("parallelism=2d", "tuning=dora"),
            "parallelism: LoRA cannot train weights whose parts are multiplied by different processes; "
            "set parallelism=fsdp2 or tuning=lora",
            "tuning=lora",
        ),
        (
            ("parallelism=tensor", "environment.hardware.device=cuda", "training.precision=fp16"),
            "training.precision: fp16 needs whole weights to scale by; set training.precision=bf16",
            "training.precision=bf16",
        ),
        (
            ("training.precision=fp16",),
            "training.precision: fp16 needs a GPU; set training.precision=bf16",
            "training.precision=bf16",
        ),
        (
            ("environment=staging",),
            "deployment.image: 'gitune/server:0.1.0' is not pinned by digest, which staging requires; "
            "set deployment.image=gitune/server:0.1.0@sha256:<its digest>",
            f"deployment.image=gitune/server:0.1.0@sha256:{'a' * 64}",
        ),
    ],
)
def test_a_broken_rule_names_the_override_that_mends_it(words, said, mend, plan):
    assert problems(lambda: plan("+recipe=tiny", *words)) == [said]
    plan("+recipe=tiny", *words, *mend.split())


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("exact_mach", "gates.exact_mach: no such metric for causal-lm; did you mean 'exact_match'?"),
        ("accuracy", "gates.accuracy: no such metric for causal-lm; measured are exact_match, perplexity"),
        ("base.perplexty", "gates.base.perplexty: no such metric for causal-lm; did you mean 'perplexity'?"),
        (
            "int8.exact_match",
            "gates.int8.exact_match: no candidate 'int8'; there are base, tuned, fp32, int4",
        ),
        (
            "int4.exact_mach",
            "gates.int4.exact_mach: no such metric for causal-lm; did you mean 'exact_match'?",
        ),
        ("fp32.agrement", "gates.fp32.agrement: no such metric for causal-lm; did you mean 'agreement'?"),
    ],
)
def test_a_gate_that_cannot_be_measured(gate, said, team, plan):
    team("recipes/x.yaml", f"defaults: [tiny, _self_]\ngates:\n  {gate}: {{min: 0.1}}\n")
    assert problems(lambda: plan("+recipe=x")) == [said]


@pytest.mark.parametrize(
    "gate", ["perplexity", "base.exact_match", "int4.exact_match", "fp32.agreement", "int4.size_bytes"]
)
def test_a_gate_that_can_be_measured(gate, team, plan):
    team("recipes/x.yaml", f"defaults: [tiny, _self_]\ngates:\n  {gate}: {{max: 2}}\n")
    full = gate if "." in gate else f"tuned.{gate}"
    held = [step.label for step in plan("+recipe=x").steps if full in getattr(step.stage, "bounds", {})]
    assert len(held) == 1


@pytest.mark.parametrize(
    ("words", "memory", "mend"),
    [
        (
            ("tuning=lora", "training.micro_batch_size=32"),
            2.0,
            "training.micro_batch_size=1 training.gradient_accumulation_steps=32",
        ),
        ((), 2.7, "tuning=lora"),
        (
            (),
            1.5,
            "tuning=lora training.micro_batch_size=1 training.gradient_accumulation_steps=8",
        ),
    ],
)
def test_what_does_not_fit_names_a_change_that_fits(words, memory, mend, plan):
    base = ("+recipe=tiny", "model=smollm2-135m-pypi", f"environment.hardware.memory_gib={memory}")
    (line,) = problems(lambda: plan(*base, *words))
    assert re.match(
        rf"training: needs about [\d.]+ GiB, environment.hardware.memory_gib is {memory:g}; ", line
    )
    assert line.endswith(f"it fits with {mend}")
    plan(*base, *words, *mend.split())


def test_what_never_fits_says_so(plan):
    (line,) = problems(lambda: plan("+recipe=tiny", "environment.hardware.memory_gib=0.1"))
    assert line.endswith("choose a smaller model=<option> or a larger machine")


def test_all_broken_rules_are_told_at_once(plan):
    words = (
        "data=files",
        "data.train=[nope.jsonl,neither.jsonl]",
        "training.precision=fp16",
        "environment=staging",
    )
    lines = problems(lambda: plan("+recipe=tiny", *words))
    assert [line.partition(":")[0] for line in lines] == [
        "nope.jsonl",
        "neither.jsonl",
        "training.precision",
        "deployment.image",
    ]


def test_a_local_file_with_another_sha256_is_refused(team, plan):
    team("rows.jsonl", ROWS)
    words = ("data=files", f"data.train={{url: rows.jsonl, sha256: {'0' * 64}}}")
    (line,) = problems(lambda: plan("+recipe=tiny", *words))
    assert line.startswith(f"rows.jsonl: sha256 should be {'0' * 64}, got ")


def test_a_source_that_is_not_pinned_is_warned_of(plan):
    (warning,) = plan("+recipe=tiny", "model=smollm2-135m").warnings
    assert warning.startswith("hf://HuggingFaceTB/SmolLM2-135M-Instruct@main is not pinned")
    assert plan("+recipe=quickstart").warnings == ()
