"""The rules across groups: each names the key it is about, and overrides that fix it."""

from pathlib import Path

import pytest

from framework.build import task
from framework.core.errors import ConfigError, PlanError
from framework.core.problem import Problem
from framework.plan import rules

CLASSIFIER = ("model=minilm-pypi", "model.labels=[no,yes]", "~gates")
CASES = [
    ((*CLASSIFIER, "compression=none"), "export", ("export=onnx",)),
    ((*CLASSIFIER, "compression=w4a8"), "export", ("export=onnx compression=int8-dynamic",)),
    (
        ("tuning=prompt", "export=onnx", "compression=int8-dynamic"),
        "tuning",
        ("export=transformers compression=none", "tuning=lora"),
    ),
    (
        ("compression=int8-dynamic",),
        "compression.int8-dynamic",
        ("export=onnx", "compression=int4-weight", "compression=none"),
    ),
    (
        ("export=transformers",),
        "compression.int4-weight",
        ("export=onnx-genai", "export=onnx", "export=openvino", "compression=none"),
    ),
    (
        (
            "tuning=prefix",
            "export=transformers",
            "compression=none",
            "training.gradient_checkpointing=true",
        ),
        "training.gradient_checkpointing",
        ("training.gradient_checkpointing=false",),
    ),
    (
        ("training.micro_batch_size=auto",),
        "training.micro_batch_size",
        ("training.global_batch_size=32",),
    ),
    (
        ("training.micro_batch_size=auto", "training.global_batch_size=32", "parallelism=ddp"),
        "training.micro_batch_size",
        ("training.micro_batch_size=8",),
    ),
    (
        ("training.micro_batch_size=3", "training.global_batch_size=32"),
        "training.global_batch_size",
        ("training.global_batch_size=33",),
    ),
    (
        ("training.gradient_accumulation_steps=2", "training.global_batch_size=32"),
        "training.global_batch_size",
        ("training.gradient_accumulation_steps=1",),
    ),
    (("training.validation.keep=best",), "training.validation", ("training.validation.share=0.05",)),
    (("training.validation.patience=2",), "training.validation", ("training.validation.share=0.05",)),
    (("tuning=adalora", "training.ema_decay=0.9"), "training.ema_decay", ("training.ema_decay=0",)),
    (
        ("parallelism=fsdp2", "training.ema_decay=0.9", "tuning=lora"),
        "training.ema_decay",
        ("training.ema_decay=0", "parallelism=ddp"),
    ),
    (("parallelism=fsdp2", "training.compile=true"), "training.compile", ("training.compile=false",)),
    (("parallelism=fsdp2", "tuning=adalora"), "parallelism", ("parallelism=ddp", "tuning=lora")),
    (
        ("parallelism=deepspeed-3", "tuning=qlora"),
        "parallelism",
        ("parallelism=deepspeed-2", "tuning=lora"),
    ),
    (("parallelism=2d", "tuning=dora"), "parallelism", ("parallelism=fsdp2", "tuning=lora")),
    (
        ("parallelism=tensor", "environment.hardware.device=cuda", "training.precision=fp16"),
        "training.precision",
        ("training.precision=bf16",),
    ),
    (("training.precision=fp16",), "training.precision", ("training.precision=bf16",)),
    (
        ("environment=staging",),
        "deployment.image",
        ("deployment.image=gitune/server:0.1.0@sha256:<digest>",),
    ),
]


@pytest.mark.parametrize(("words", "key", "overrides"), CASES)
def test_rule_names_its_key_and_overrides_that_plan(words, key, overrides, fixes):
    (problem,) = fixes("+recipe=tiny", *words)
    assert (problem.key, problem.overrides) == (key, overrides)


def test_plan_error_lists_every_problem_and_exits_with_2(plan, problems):
    words = ("+recipe=tiny", "training.precision=fp16", "environment=staging")
    with pytest.raises(PlanError) as caught:
        plan(*words)
    assert caught.value.exit_code == 2
    first, *lines = str(caught.value).split("\n  ")
    assert first == "The plan cannot run:"
    assert lines == [str(problem) for problem in problems(*words)]


def test_all_broken_rules_are_reported_at_once(problems):
    words = (
        "data=files",
        "data.train=[nope.jsonl,neither.jsonl]",
        "training.precision=fp16",
        "environment=staging",
    )
    assert [problem.key for problem in problems("+recipe=tiny", *words)] == [
        "data.train.0",
        "data.train.1",
        "training.precision",
        "deployment.image",
    ]


@pytest.mark.parametrize(
    ("gate", "advice"),
    [
        ("exact_mach", "did you mean 'exact_match'?"),
        ("accuracy", "choose one of exact_match, stops, perplexity"),
        ("base.perplexty", "did you mean 'perplexity'?"),
        ("int8.exact_match", "choose one of base, tuned, fp32, int4"),
        ("int4.exact_mach", "did you mean 'exact_match'?"),
        ("fp32.agrement", "did you mean 'agreement'?"),
    ],
)
def test_gate_on_an_unmeasured_metric_is_rejected(gate, advice, team, problems):
    team("recipes/x.yaml", f"defaults: [tiny, _self_]\ngates:\n  {gate}: {{min: 0.1}}\n")
    (problem,) = problems("+recipe=x")
    assert (problem.key, problem.advice) == (f"gates.{gate}", advice)


def test_gate_that_no_model_can_pass_is_a_warning(config):
    words = ("gates.perplexity.max=0.5", "gates.int4.agreement.min=1.1", "gates.exact_match.max=1.5")
    warned = {problem.key for problem in rules.cautions(config("+recipe=tiny", *words))}
    assert warned >= {"gates.perplexity", "gates.int4.agreement"}
    assert "gates.exact_match" not in warned


@pytest.mark.parametrize(
    "gate", ["perplexity", "base.exact_match", "int4.exact_match", "fp32.agreement", "int4.size_bytes"]
)
def test_gate_on_a_measured_metric_is_planned(gate, team, plan):
    team("recipes/x.yaml", f"defaults: [tiny, _self_]\ngates:\n  {gate}: {{max: 1}}\n")
    steps = plan("+recipe=x").steps
    for name in [gate] if "." in gate else [f"tuned.{gate}", f"int4.{gate}"]:
        assert len([step for step in steps if name in getattr(step.stage, "bounds", {})]) == 1


SMALL_BATCH = "training.micro_batch_size=1 training.gradient_accumulation_steps=8"


@pytest.mark.parametrize(
    ("words", "memory", "override"),
    [
        (
            ("tuning=lora", "training.micro_batch_size=32"),
            2.0,
            "training.micro_batch_size=1 training.gradient_accumulation_steps=32",
        ),
        ((), 2.7, "tuning=lora"),
        ((), 1.5, f"tuning=lora {SMALL_BATCH}"),
    ],
)
def test_training_that_does_not_fit_names_a_change_that_does(words, memory, override, fixes):
    base = ("+recipe=tiny", "model=smollm2-135m-pypi", f"environment.hardware.memory_gib={memory}")
    (problem,) = fixes(*base, *words)
    assert problem.key == "training"
    assert problem.overrides[0] == override
    assert f"memory_gib is {memory:g}" in problem.reason


def test_training_that_never_fits_has_no_override(problems):
    (problem,) = problems("+recipe=tiny", "environment.hardware.memory_gib=0.1")
    assert problem.overrides == ()
    assert problem.advice


def test_base_model_without_a_template_is_named_before_it_is_opened(team, problems):
    team("model/config.json", "{}")
    team("model/tokenizer_config.json", "{}")
    words = ("+recipe=tiny", "model=smollm2-135m", "model.source.url=model")
    (problem,) = problems(*words)
    assert (problem.key, problem.overrides[0]) == ("model.chat_template", "model.chat_template=chatml")
    assert not problems(*words, problem.overrides[0])
    (missing,) = problems(*words, "model.chat_template=nope.jinja")
    assert missing.key == "model.chat_template"
    team("model/tokenizer_config.json", '{"chat_template": "x"}')
    assert not problems(*words)


@pytest.mark.parametrize(("option", "value"), [("tiny-encoder", "all"), ("tiny-t5", "all"), ("tiny", "none")])
def test_loss_that_the_model_cannot_learn_is_rejected(option, value, config, problems):
    assert config("+recipe=tiny", "data.loss_on=all").data.loss_on == "all"
    if option == "tiny":
        with pytest.raises(ConfigError, match=r"data\.loss_on"):
            config("+recipe=tiny", f"data.loss_on={value}")
        return
    recipe = {"tiny-encoder": "sentiment", "tiny-t5": "tiny-seq2seq"}[option]
    found = problems(f"+recipe={recipe}", f"data.loss_on={value}")
    assert "data.loss_on=answers" in next(p for p in found if p.key == "data.loss_on").overrides


def test_local_file_with_another_sha256_is_rejected(team, problems):
    team("rows.jsonl", '{"prompt": "a", "completion": "b"}\n')
    words = ("data=files", f"data.train={{url: rows.jsonl, sha256: {'0' * 64}}}")
    (problem,) = problems("+recipe=tiny", *words)
    assert problem.key == "data.train.0"
    assert "rows.jsonl" in problem.reason
    assert "0" * 64 in problem.reason


def test_unpinned_source_is_a_caution(plan):
    (warning,) = plan("+recipe=tiny", "model=smollm2-135m").warnings
    assert warning.key.startswith("model.")
    assert "hf://HuggingFaceTB/SmolLM2-135M-Instruct@main" in warning.reason
    assert plan("+recipe=quickstart").warnings == ()


def test_problems_are_equal_by_value():
    assert len({Problem("a", "b", ("c=1",)), Problem("a", "b", ("c=1",))}) == 1


def test_rules_name_no_task():
    tasks = [file.stem.replace("_", "-") for file in Path(task.__file__).parent.glob("*_*.py")]
    assert "causal-lm" in tasks
    for file in Path(rules.__file__).parent.glob("*.py"):
        text = file.read_text()
        assert not [name for name in (*tasks, "seq2seq") if f'"{name}"' in text], file.name
