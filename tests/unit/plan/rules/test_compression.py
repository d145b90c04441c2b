import pytest

from framework.core.errors import ConfigError, PlanError

CLASSIFIER = ("+recipe=sentiment", "~gates")


@pytest.mark.parametrize(
    ("words", "said", "mend"),
    [
        (
            ("compression=[int8-dynamic,distill]",),
            "compression.int8-dynamic: works on what was exported, so it comes after those that change the "
            "model; set compression=[distill,int8-dynamic]",
            "compression=[distill,int8-dynamic]",
        ),
        (
            ("compression=[none,int8-dynamic]",),
            "compression.none: stands for no compression; set compression=int8-dynamic",
            "compression=int8-dynamic",
        ),
        (
            ("compression=[distill,int8-dynamic]", "compression.distill.training.precision=fp16"),
            "compression.distill.training.precision: fp16 needs a GPU; "
            "set compression.distill.training.precision=bf16",
            "compression.distill.training.precision=bf16",
        ),
        (
            ("compression=distill", "tuning=prompt", "export=transformers"),
            "compression.distill: changes plain weights, and this tuning method keeps its own beside them; "
            "set tuning=lora",
            "tuning=lora",
        ),
        (
            ("compression=w4a8", "tuning=prompt", "export=transformers"),
            "compression.w4a8: changes plain weights, and this tuning method keeps its own beside them; "
            "set tuning=lora",
            "tuning=lora",
        ),
        (
            ("compression=[int8-dynamic,int8-static]",),
            "compression.int8-static: compression.int8-dynamic has made integers of the weights before; "
            "set compression=int8-dynamic",
            "compression=int8-dynamic",
        ),
        (
            ("compression=[w4a8,fp16]", "export=transformers"),
            "compression.fp16: compression.w4a8 has made integers of the weights before; "
            "set compression=w4a8",
            "compression=w4a8",
        ),
        (
            ("compression=[prune-unstructured,distill]",),
            "compression.prune-unstructured: the training of compression.distill would undo its zeros; "
            "set compression=[distill,prune-unstructured]",
            "compression=[distill,prune-unstructured]",
        ),
        (
            ("compression=[prune-unstructured,qat]",),
            "compression.prune-unstructured: the training of compression.qat would undo its zeros; "
            "set compression=qat",
            "compression=qat",
        ),
        (
            ("compression=prune-unstructured", "compression.prune-unstructured.training.ema_decay=0.9"),
            "compression.prune-unstructured.training.ema_decay: this tuning method changes its weights "
            "between steps; set compression.prune-unstructured.training.ema_decay=0",
            "compression.prune-unstructured.training.ema_decay=0",
        ),
        (
            ("compression=distill", "+model@compression.distill.teacher=tiny"),
            "compression.distill.teacher: tiny-random-llama is for causal-lm, the model is for "
            "sequence-classification; set compression.distill.teacher=null",
            "~model@compression.distill.teacher",
        ),
    ],
)
def test_a_broken_rule_names_the_override_that_mends_it(words, said, mend, plan):
    with pytest.raises(PlanError) as caught:
        plan(*CLASSIFIER, *words)
    assert str(caught.value).splitlines() == ["The plan cannot run:", f"  {said}"]
    plan(*CLASSIFIER, *words, *mend.split())


@pytest.mark.parametrize(
    "words",
    [
        ("compression=qat", "environment.hardware.memory_gib=1"),
        ("compression=qat", "tuning=full", "parallelism=fsdp2"),
    ],
)
def test_no_tuning_option_mends_what_a_compression_trains(words, plan):
    with pytest.raises(PlanError) as caught:
        plan(*CLASSIFIER, *words)
    (said,) = [line for line in str(caught.value).splitlines() if "qat" in line or "FakeQuantized" in line]
    assert "set " in said or "choose " in said or "it fits with " in said
    assert "tuning=" not in said


def test_two_options_cannot_make_one_candidate(team, plan):
    team(
        "conf/compression/again.yaml",
        "# @package compression.again\n_target_: framework.build.compression.int8_dynamic.Int8Dynamic\n",
    )
    with pytest.raises(PlanError) as caught:
        plan(*CLASSIFIER, "compression=[int8-dynamic,again]")
    assert str(caught.value).endswith(
        "compression.again: makes the candidate 'int8', as compression.int8-dynamic does; "
        "set compression=int8-dynamic"
    )


def test_an_option_without_its_package_line_says_what_is_missing(team, plan):
    team("conf/compression/mine.yaml", "_target_: framework.build.compression.int8_dynamic.Int8Dynamic\n")
    with pytest.raises(ConfigError, match=r"begin with '# @package compression\.<its name>'"):
        plan(*CLASSIFIER, "compression=mine")


def test_compressions_follow_each_other_in_the_order_in_which_they_are_named(plan):
    steps = {step.label: step for step in plan(*CLASSIFIER, "compression=[distill,int8-dynamic]").steps}
    tune = steps["tune distilled"]
    assert tune.needs["teacher"] is tune.needs["model"] is steps["merge"]
    assert steps["gate quality"] in tune.after
    assert steps["export fp32"].needs["model"] is steps["merge distilled"]
    assert steps["compress int8"].needs["exported"] is steps["export fp32"]
    assert steps["parity"].needs["model"] is steps["merge distilled"]
    assert {"tuned", "distilled", "fp32", "int8"} == set(steps["benchmark"].needs)
    assert steps["publish"].needs["shipped"] is steps["compress int8"]


def test_a_student_with_fewer_layers_is_made_before_it_is_taught(plan):
    words = ("compression=[distill,int8-dynamic]", "compression.distill.layers=3")
    steps = {step.label: step for step in plan(*CLASSIFIER, *words).steps}
    assert steps["tune distilled"].needs["model"] is steps["reshape distilled"]
    assert steps["tune distilled"].needs["teacher"] is steps["merge"]
    assert steps["merge distilled"].needs["model"] is steps["reshape distilled"]


def test_another_training_reshapes_nothing_again(plan):
    words = (*CLASSIFIER, "compression=[prune-structured,int8-dynamic]")
    before, after = plan(*words), plan(*words, "compression.prune-structured.training.learning_rate=0.5")
    assert before.step("reshape pruned").key == after.step("reshape pruned").key
    assert before.step("tune pruned").key != after.step("tune pruned").key


def test_a_metric_of_a_candidate_before_the_export_can_be_bounded(team, plan):
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
def test_what_needs_whole_weights_is_not_spread(option, label, plan):
    words = (*CLASSIFIER, "tuning=full", f"compression={option}")
    with pytest.raises(PlanError, match=r"set parallelism=ddp"):
        plan(*words, "parallelism=fsdp2")
    step = plan(*words, "parallelism=ddp").step(f"tune {label}")
    assert ("teacher" in step.needs) == (option == "distill")


def test_layers_are_dropped_from_one_stack_only(plan):
    with pytest.raises(
        PlanError, match=r"compression\.distill\.layers: an encoder and a decoder have a stack"
    ):
        plan("+recipe=tiny-seq2seq", "compression=distill", "compression.distill.layers=1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compression=distill",), "compression.distill.layers: the student is its teacher"),
        (("compression=[distill]", "compression.distill.layers=2"), ""),
        (("compression=[prune-structured,distill]",), ""),
        (("compression=[qat,int8-dynamic]",), "compression.qat.scheme: weights are rounded for int4-weight"),
        (("compression=[qat,int8-dynamic]", "compression.qat.scheme=int8"), ""),
    ],
)
def test_what_may_surprise_is_said_and_planned(words, said, plan):
    told = [line for line in plan(*CLASSIFIER, *words).warnings if line.startswith("compression.")]
    assert (said in told[0]) if said else not told


def test_blocks_of_another_size_are_told_of(plan):
    words = ("+recipe=tiny", "compression=[qat,int4-weight]", "compression.int4-weight.block_size=64")
    (told,) = [line for line in plan(*words).warnings if line.startswith("compression.")]
    assert told.endswith("then of 64 by int4-weight; set compression.qat.group_size=64")
    assert not [line for line in plan(*words, told.split()[-1]).warnings if line.startswith("compression.")]
