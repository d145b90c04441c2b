import pytest

from framework.core.errors import ConfigError

CLASSIFIER = ("+recipe=sentiment", "~gates")
CASES = [
    (
        ("compression=[int8-dynamic,distill]",),
        "compression.int8-dynamic",
        ("compression=[distill,int8-dynamic]",),
    ),
    (("compression=[none,int8-dynamic]",), "compression.none", ("compression=int8-dynamic",)),
    (
        ("compression=[distill,int8-dynamic]", "compression.distill.training.precision=fp16"),
        "compression.distill.training.precision",
        ("compression.distill.training.precision=bf16",),
    ),
    (
        ("compression=distill", "tuning=prompt", "export=transformers"),
        "compression.distill",
        ("tuning=lora",),
    ),
    (("compression=w4a8", "tuning=prompt", "export=transformers"), "compression.w4a8", ("tuning=lora",)),
    (
        ("compression=[int8-dynamic,int8-static]",),
        "compression.int8-static",
        ("compression=int8-dynamic",),
    ),
    (("compression=[w4a8,fp16]", "export=transformers"), "compression.fp16", ("compression=w4a8",)),
    (
        ("compression=[prune-unstructured,distill]",),
        "compression.prune-unstructured",
        ("compression=[distill,prune-unstructured]",),
    ),
    (("compression=[prune-unstructured,qat]",), "compression.prune-unstructured", ("compression=qat",)),
    (
        ("compression=prune-unstructured", "compression.prune-unstructured.training.ema_decay=0.9"),
        "compression.prune-unstructured.training.ema_decay",
        ("compression.prune-unstructured.training.ema_decay=0",),
    ),
    (
        ("compression=distill", "+model@compression.distill.teacher=tiny"),
        "compression.distill.teacher",
        ("compression.distill.teacher=null",),
    ),
]


@pytest.mark.parametrize(("words", "key", "overrides"), CASES)
def test_rule_names_its_key_and_overrides_that_plan(words, key, overrides, fixes):
    (problem,) = fixes(*CLASSIFIER, *words)
    assert (problem.key, problem.overrides) == (key, overrides)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("compression=qat", "environment.hardware.memory_gib=1"), "compression.qat.training"),
        (("compression=qat", "tuning=full", "parallelism=fsdp2"), "parallelism"),
    ],
)
def test_recovery_training_suggests_no_tuning_option(words, key, problems):
    (problem,) = [each for each in problems(*CLASSIFIER, *words) if each.key == key]
    assert problem.overrides or problem.advice
    assert not [override for override in problem.overrides if "tuning=" in override]


def test_two_options_cannot_make_one_candidate(team, fixes):
    team(
        "conf/compression/again.yaml",
        "# @package compression.again\n_target_: framework.build.compression.int8_dynamic.Int8Dynamic\n",
    )
    found = fixes(*CLASSIFIER, "compression=[int8-dynamic,again]")
    assert (found[-1].key, found[-1].overrides) == ("compression.again", ("compression=int8-dynamic",))
    assert "'int8'" in found[-1].reason


def test_field_of_a_renamed_option_is_named_by_its_place(team, fixes):
    team(
        "conf/compression/again.yaml",
        "# @package compression.again\n_target_: framework.build.compression.distill.Distill\nlayers: 1\n",
    )
    found = fixes("+recipe=tiny-seq2seq", "compression=again")
    assert (found[0].key, found[0].overrides) == (
        "compression.again.layers",
        ("compression.again.layers=null",),
    )


def test_option_without_its_package_line_is_rejected(team, plan):
    team("conf/compression/mine.yaml", "_target_: framework.build.compression.int8_dynamic.Int8Dynamic\n")
    with pytest.raises(ConfigError, match=r"# @package compression\.<name>"):
        plan(*CLASSIFIER, "compression=mine")


def test_compressions_follow_each_other_in_their_order(plan):
    steps = {step.label: step for step in plan(*CLASSIFIER, "compression=[distill,int8-dynamic]").steps}
    tune = steps["tune distilled"]
    assert tune.needs["teacher"] is tune.needs["model"] is steps["merge"]
    assert steps["gate quality"] in tune.after
    assert steps["export fp32"].needs["model"] is steps["merge distilled"]
    assert steps["compress int8"].needs["exported"] is steps["export fp32"]
    assert steps["parity"].needs["model"] is steps["merge distilled"]
    assert {"tuned", "distilled", "fp32", "int8"} == set(steps["benchmark"].needs)
    assert steps["publish"].needs["shipped"] is steps["compress int8"]


def test_student_with_fewer_layers_is_made_before_training(plan):
    words = ("compression=[distill,int8-dynamic]", "compression.distill.layers=3")
    steps = {step.label: step for step in plan(*CLASSIFIER, *words).steps}
    assert steps["tune distilled"].needs["model"] is steps["reshape distilled"]
    assert steps["tune distilled"].needs["teacher"] is steps["merge"]
    assert steps["merge distilled"].needs["model"] is steps["reshape distilled"]


def test_changed_recovery_training_reshapes_nothing_again(plan):
    words = (*CLASSIFIER, "compression=[prune-structured,int8-dynamic]")
    before, after = plan(*words), plan(*words, "compression.prune-structured.training.learning_rate=0.5")
    assert before.step("reshape pruned").key == after.step("reshape pruned").key
    assert before.step("tune pruned").key != after.step("tune pruned").key


def test_candidate_before_the_export_can_be_gated(team, plan):
    team(
        "recipes/x.yaml",
        "defaults:\n  - sentiment\n  - override /compression: [distill, int8-dynamic]\n  - _self_\n"
        "gates:\n  distilled.accuracy: {min: 0.5}\n",
    )
    steps = {step.label: step for step in plan("+recipe=x").steps}
    assert "distilled.accuracy" in steps["gate export"].stage.bounds
    assert steps["gate export"].needs["evaluate distilled"] is steps["evaluate distilled"]


@pytest.mark.parametrize(
    ("option", "label"), [("distill", "distilled"), ("prune-unstructured", "sparse"), ("qat", "qat")]
)
def test_training_of_whole_weights_is_not_sharded(option, label, plan, fixes):
    words = (*CLASSIFIER, "tuning=full", f"compression={option}")
    assert ("parallelism=ddp",) in {problem.overrides for problem in fixes(*words, "parallelism=fsdp2")}
    step = plan(*words, "parallelism=ddp").step(f"tune {label}")
    assert ("teacher" in step.needs) == (option == "distill")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("compression=distill",), "compression.distill.layers"),
        (("compression=[distill]", "compression.distill.layers=2"), None),
        (("compression=[prune-structured,distill]",), None),
        (("compression=[qat,int8-dynamic]",), "compression.qat.scheme"),
        (("compression=[qat,int8-dynamic]", "compression.qat.scheme=int8"), None),
    ],
)
def test_surprising_compression_is_planned_with_a_caution(words, key, plan):
    keys = [caution.key for caution in plan(*CLASSIFIER, *words).warnings]
    assert [each for each in keys if each.startswith("compression.")] == ([key] if key else [])


def test_group_size_that_differs_is_a_caution(plan):
    words = ("+recipe=tiny", "compression=[qat,int4-weight]", "compression.int4-weight.block_size=64")
    (caution,) = [each for each in plan(*words).warnings if each.key.startswith("compression.")]
    assert (caution.key, caution.overrides) == (
        "compression.qat.group_size",
        ("compression.qat.group_size=64",),
    )
    assert caution.key not in {each.key for each in plan(*words, *caution.overrides).warnings}
