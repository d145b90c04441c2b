import os
import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest

from framework.config.recipes import recipe_names
from framework.config.schema import GROUPS, Config
from framework.core.component import Component
from framework.core.errors import PlanError
from framework.core.paths import SHARE
from framework.core.step import Step
from framework.plan import Plan, make_plan

RECIPES = recipe_names(SHARE / "recipes")
ROWS = '{"prompt": "a", "completion": "b"}\n'


def keys(plan: Plan) -> dict[str, str]:
    return {step.label: step.key for step in plan.steps}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every keyed field of a component, and of those in it, that holds no component."""
    if isinstance(value, Component):
        for name in value.spec().keys() - {"_target_"}:
            yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), Component):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, tuple) and value and isinstance(value[0], Component):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def other(value: Any, annotation: Any) -> Any:
    """Another value of the same kind."""
    if get_origin(annotation) is None and isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        choices = [choice for choice in get_args(annotation) if isinstance(choice, str)]
        return next((choice for choice in choices if choice != value), f"{value}x")
    if isinstance(value, tuple):
        return (*value, "x")
    if isinstance(value, dict):
        return {**value, "x": "y"}
    return 7  # it was None


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy of *value* in which the leaf at *path* is another."""
    first, *rest = path
    if isinstance(value, Component):
        before = getattr(value, first)
        annotation = type(value).model_fields[first].annotation
        after = changed(before, tuple(rest)) if rest else other(before, annotation)
        return value.model_copy(update={first: after})
    if isinstance(value, dict):
        return {**value, first: changed(value[first], tuple(rest))}
    return tuple(changed(item, tuple(rest)) if index == first else item for index, item in enumerate(value))


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_of_every_stage_changes_its_key(name, plan):
    count = 0
    for step in plan(f"+recipe={name}").steps:
        seen = {step.key}
        for path in leaves(step.stage):
            if path[-1] in ("url", "sha256") and path[0] != "publish":
                continue  # must name bytes that are there; see the tests of local files
            altered = Step(step.label, changed(step.stage, path), step.needs)
            assert altered.key not in seen, f"{step.label}: {'.'.join(map(str, path))} does not enter the key"
            seen.add(altered.key)
            count += 1
    assert count > 100


UNKEYED = {
    "training.checkpoint_every_steps": 7,
    "training.checkpoint_every_minutes": 7.0,
    "training.keep_checkpoints": 7,
    "training.check_ranks_every_steps": 7,
    "training.grace_seconds": 7.0,
}
"""Every field that is marked so, with another value."""


def test_what_shapes_no_byte_changes_no_key_and_still_reaches_the_worker(plan):
    before = plan("+recipe=tiny")
    stage = before.step("tune").stage
    marked = [f"training.{name}" for name in stage.training.dump().keys() - stage.training.spec().keys()]
    assert set(marked) == set(UNKEYED)
    for key, value in UNKEYED.items():
        after = plan("+recipe=tiny", f"+{key}={value}")
        assert keys(after) == keys(before), key
        assert after.step("tune").stage.dump()["training"][key.partition(".")[2]] == value
    watched = plan("+recipe=tiny", "tracking=tensorboard")
    assert keys(watched) == keys(before)
    assert watched.step("tune").stage.dump()["tracking"]["experiment"] == "tiny"


GATES = {"gate quality", "gate export", "publish"}
TESTED = {"evaluate base", "evaluate tuned", "evaluate int4"}
COMPARED = {"parity", "benchmark", "gate export", "publish"}
SMALLER = {"compress int4", "evaluate int4", *COMPARED}
EXPORTED = {"export fp32", *SMALLER}
TUNED = {"tune", "merge", "evaluate tuned", "gate quality", *EXPORTED}
PREPARED = {"data", "evaluate base", *TUNED}
ALL = {"model", *PREPARED}

REACH = {
    "model": ALL,
    "data": PREPARED,
    "tuning": TUNED,
    "training": TUNED,
    "parallelism": TUNED,
    "evaluation": TESTED | GATES,
    "compression": SMALLER,
    "export": {"parity", "gate export", "publish"},
    "seed": ALL,
    "gates": {"gate quality", "publish"},
    "phases": set(),  # tests/unit/test_phases.py
    "benchmark": {"benchmark", "gate export", "publish"},
    "publish": {"publish"},
    "name": {"publish"},
    **{key: set() for key in ("serving", "deployment", "environment", "tracking", "store")},
    **{key: set() for key in ("environments", "plugins")},
}
"""The steps that a change of each key of the config must build again, and no others."""


def test_the_reach_of_every_key_is_stated():
    assert set(REACH) == set(Config.model_fields)
    assert set(GROUPS) <= set(REACH)


UNTOUCHED = {"url", "sha256", "memory_gib", "allow_unpinned_image", "patience", "keep", "global_batch_size"}
BOUNDS = ("max_difference", "reference_agreement", "agreement")
SPECIAL = {
    # A bound of parity is the gate's own: nothing is compared again.
    **{f"export.parity.{bound}": {"gate export", "publish"} for bound in BOUNDS},
    # What only describes a model is the release's own.
    "model.license": {"publish"},
    "model.parameters": {"publish"},
    "environment.hardware.device": TUNED,
}


@pytest.mark.parametrize("key", [key for key in REACH if key != "phases"])
def test_a_change_builds_again_what_rests_on_it_and_nothing_else(key, config):
    whole = config("+recipe=tiny", "tuning=lora")
    before = keys(make_plan(whole, "tiny"))
    assert set(before) == ALL
    count = 0
    for path in leaves(getattr(whole, key), (key,)):
        if path[-1] in UNTOUCHED and key != "publish":
            continue  # another value breaks a rule; the tests of local files and of rules have them
        after = keys(make_plan(changed(whole, path), "tiny"))
        wanted = SPECIAL.get(".".join(map(str, path)), REACH[key])
        assert {label for label in before if after.get(label) != before[label]} == wanted, path
        count += 1
    assert count or not list(leaves(getattr(whole, key)))


def test_the_rank_keeps_model_data_and_base(plan):
    eight = keys(plan("+recipe=quickstart", "tuning.rank=8"))
    sixteen = keys(plan("+recipe=quickstart"))
    same = {label for label in eight if eight[label] == sixteen[label]}
    assert same == {"model", "data", "evaluate base"}


@pytest.mark.parametrize(
    "words",
    [
        ("environment=production", f"deployment.image=gitune/server@sha256:{'0' * 64}"),
        ("serving.port=9000",),
        ("deployment.gpus=1",),
        ("store=elsewhere",),
    ],
)
def test_what_only_serves_builds_nothing_again(words, plan):
    assert keys(plan("+recipe=tiny", *words)) == keys(plan("+recipe=tiny"))


def test_a_gate_builds_no_export_again(plan):
    before, after = keys(plan("+recipe=tiny")), keys(plan("+recipe=tiny", "gates.exact_match.min=0.6"))
    assert {label for label in before if before[label] != after[label]} == {"gate quality", "publish"}
    after = keys(plan("+recipe=tiny", "gates.int4.exact_match.min=0.6"))
    assert {label for label in before if before[label] != after[label]} == {"gate export", "publish"}


def test_one_option_for_another_changes_the_key(plan):
    full, lora = keys(plan("+recipe=tiny")), keys(plan("+recipe=tiny", "tuning=lora"))
    assert {label for label in full if full[label] != lora[label]} == TUNED


def test_a_local_file_enters_the_key_by_its_content(team, plan):
    file = team("rows.jsonl", ROWS * 20)
    words = ("+recipe=tiny", "data=files", "data.train=rows.jsonl")
    before = keys(plan(*words))
    os.utime(file, (1, 1))
    assert keys(plan(*words)) == before
    team("rows.jsonl", ROWS * 19 + ROWS.replace("b", "c"))
    after = keys(plan(*words))
    assert {label for label in before if before[label] != after[label]} == PREPARED


def test_a_folders_files_enter_the_key(team, plan):
    team("rows/a.jsonl", ROWS)
    words = ("+recipe=tiny", "data=files", "data.train=rows")
    before = keys(plan(*words))
    team("rows/b.jsonl", ROWS)
    assert keys(plan(*words))["data"] != before["data"]


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
            CLASSIFIER,
            "export: this exporter is for causal-lm, the model is for sequence-classification; "
            "set export=onnx compression=int8-dynamic",
            "export=onnx compression=int8-dynamic",
        ),
        (
            ("export=onnx", "compression=int8-dynamic"),
            "export: this exporter is for sequence-classification, multi-label-classification, "
            "token-classification, the model is for causal-lm; "
            "set export=onnx-genai compression=int4-weight",
            "export=onnx-genai compression=int4-weight",
        ),
        (
            ("compression=int8-dynamic",),
            "compression.int8-dynamic: works on exports for onnxruntime, this one is for genai; "
            "set compression=int4-weight or compression=none",
            "compression=int4-weight",
        ),
        (
            (*CLASSIFIER, "export=onnx"),
            "compression.int4-weight: works on exports for genai, this one is for onnxruntime; "
            "set compression=int8-dynamic or compression=none",
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


def test_without_compression_nothing_is_compressed(plan):
    labels = [step.label for step in plan("+recipe=tiny", "compression=none").steps]
    assert not [label for label in labels if label.startswith("compress")]
    assert labels.count("evaluate fp32") == 1


def test_inputs_stand_before_what_needs_them(plan):
    seen: set[str] = set()
    for step in plan("+recipe=tiny").steps:
        assert {need.key for need in (*step.needs.values(), *step.after)} <= seen
        seen.add(step.key)


def test_exporting_waits_for_the_quality_gate(plan):
    export = plan("+recipe=tiny").step("export fp32")
    assert [step.label for step in export.after] == ["gate quality"]
