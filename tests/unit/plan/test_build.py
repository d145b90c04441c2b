import os
from importlib.metadata import PackageNotFoundError

import pytest
from changed_components import changed, leaves

from framework.config.options import recipe_names
from framework.config.read_recipe import listed
from framework.config.schema import GROUPS, Config
from framework.core.paths import SHARE
from framework.core.step import Step
from framework.plan.build import Plan, make_plan

RECIPES = [name for name in recipe_names(SHARE / "recipes") if not listed(name)]
ROWS = '{"prompt": "a", "completion": "b"}\n'


def keys(plan: Plan) -> dict[str, str]:
    return {step.label: step.key for step in plan.steps}


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_field_changes_the_key(name, plan):
    count = 0
    for step in plan(f"+recipe={name}").steps:
        seen = {step.key}
        for path in leaves(step.stage):
            if path[-1] in ("url", "sha256") and path[0] != "publish":
                continue  # must name bytes that are there; see the tests of local files
            altered = Step(step.label, changed(step.stage, path), step.needs)
            try:
                key = altered.key
            except PackageNotFoundError:
                continue  # it chooses a library that is not here, whose version the key would have
            assert key not in seen, f"{step.label}: {'.'.join(map(str, path))} does not enter the key"
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


def test_unkeyed_field_reaches_the_worker_only(plan):
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
PREPARED = {"encode", "evaluate base", *TUNED}
ALL = {"model", *PREPARED}

REACH = {
    "model": ALL,
    "data": {"read", *PREPARED},
    "clean": PREPARED,
    "select": PREPARED,
    "tuning": TUNED,
    "training": TUNED,
    "parallelism": TUNED,
    "evaluation": TESTED | GATES,
    "compression": SMALLER,
    "export": {"parity", "gate export", "publish"},
    "seed": ALL,
    "gates": {"gate quality", "gate export", "publish"},
    "phases": set(),  # tests/unit/test_phases.py
    "benchmark": {"benchmark", "gate export", "publish"},
    "publish": {"publish"},
    "name": {"publish"},
    **{key: set() for key in ("serving", "deployment", "rollout", "autoscaling", "traffic", "monitoring")},
    **{key: set() for key in ("secrets", "environment", "launcher", "tracking", "store")},
    **{key: set() for key in ("environments", "reports", "plugins")},
}
"""The steps that a change of each key of the config must build again, and no others."""


def test_reach_covers_every_config_key():
    assert set(REACH) == set(Config.model_fields)
    assert set(GROUPS) <= set(REACH)


UNTOUCHED = {
    *("url", "sha256", "memory_gib", "allow_unpinned_image", "patience", "keep", "global_batch_size"),
    *("api_key_secret", "requests", "limits"),  # whole parts, where there are none
    *("subset", "split", "test_split"),  # of folders only
    *("cpu", "memory", "model_space", "temporary_space"),  # another text is no amount
    *("gates", "images"),  # of the environment, which has none: another text is no bound, and no image here
}
BOUNDS = (
    "max_difference",
    "reference_agreement",
    "agreement",
    "reference_generation_agreement",
    "generation_agreement",
    "reference_batched_agreement",
    "batched_agreement",
    "max_metric_loss",
)
SPECIAL = {
    # A bound of parity is the gate's own: nothing is compared again.
    **{f"export.parity.{bound}": {"gate export", "publish"} for bound in BOUNDS},
    # What only describes a model is the release's own.
    "model.license": {"publish"},
    "model.parameters": {"publish"},
    "environment.hardware.device": TUNED,
    # Rows are read once, whatever may be too long for a model.
    **{
        f"data.{limit}": PREPARED
        for limit in ("max_length", "too_long", "max_rejected", "max_overlap", "loss_on")
    },
}


@pytest.mark.parametrize("key", [key for key in REACH if key != "phases"])
def test_changed_key_rebuilds_only_dependent_steps(key, config):
    whole = config("+recipe=tiny", "tuning=lora", "autoscaling.waiting_per_pod=4")  # with a GPU, too
    before = keys(make_plan(whole, "tiny"))
    assert set(before) == {"read", *ALL}
    count = 0
    for path in leaves(getattr(whole, key), (key,)):
        if path[-1] in UNTOUCHED and key != "publish":
            continue  # another value breaks a rule; the tests of local files and of rules have them
        after = keys(make_plan(changed(whole, path), "tiny"))
        wanted = SPECIAL.get(".".join(map(str, path)), REACH[key])
        assert {label for label in before if after.get(label) != before[label]} == wanted, path
        count += 1
    assert count or not list(leaves(getattr(whole, key)))


def test_rank_keeps_model_data_and_base(plan):
    eight = keys(plan("+recipe=quickstart", "tuning.rank=8"))
    sixteen = keys(plan("+recipe=quickstart"))
    same = {label for label in eight if eight[label] == sixteen[label]}
    assert same == {"model", "read", "encode", "evaluate base"}


@pytest.mark.parametrize(
    "words",
    [
        ("environment=production", f"deployment.image=gitune/server@sha256:{'0' * 64}"),
        ("serving.port=9000",),
        ("deployment.gpus=1", "autoscaling=fixed"),
        ("store=elsewhere",),
    ],
)
def test_serving_key_rebuilds_nothing(words, plan):
    assert keys(plan("+recipe=tiny", *words)) == keys(plan("+recipe=tiny"))


def test_gate_rebuilds_no_export(plan):
    before, after = keys(plan("+recipe=tiny")), keys(plan("+recipe=tiny", "gates.exact_match.min=0.6"))
    assert {label for label in before if before[label] != after[label]} == GATES
    after = keys(plan("+recipe=tiny", "gates.tuned.exact_match.min=0.6"))
    assert {label for label in before if before[label] != after[label]} == {"gate quality", "publish"}
    after = keys(plan("+recipe=tiny", "gates.int4.exact_match.min=0.6"))
    assert {label for label in before if before[label] != after[label]} == {"gate export", "publish"}


def test_answers_must_end_unless_the_recipe_says_otherwise(plan):
    def stops(*words):
        made = plan(*words)
        gates = (made.step("gate quality").stage, made.step("gate export").stage)
        bounds = [gate.gates({*gate.defaults}) for gate in gates]
        return {name: bound.min for each in bounds for name, bound in each.items() if name.endswith(".stops")}

    assert stops("+recipe=tiny") == {"tuned.stops": 0.5, "int4.stops": 0.5}
    assert stops("+recipe=tiny", "gates.stops.min=0.2") == {"tuned.stops": 0.2, "int4.stops": 0.2}
    assert stops("+recipe=tiny", "gates.int4.stops.min=0.2") == {"tuned.stops": 0.5, "int4.stops": 0.2}
    pruned = ("+recipe=tiny", "compression=[prune-structured,int4-weight]")
    assert stops(*pruned) == {"tuned.stops": 0.5, "pruned.stops": 0.5, "int4.stops": 0.5}
    assert stops("+recipe=sentiment") == {}


def test_another_option_changes_the_key(plan):
    full, lora = keys(plan("+recipe=tiny")), keys(plan("+recipe=tiny", "tuning=lora"))
    assert {label for label in full if full[label] != lora[label]} == TUNED


def test_local_file_is_keyed_by_content(team, plan):
    file = team("rows.jsonl", ROWS * 20)
    words = ("+recipe=tiny", "data=files", "data.train=rows.jsonl")
    before = keys(plan(*words))
    os.utime(file, (1, 1))
    assert keys(plan(*words)) == before
    team("rows.jsonl", ROWS * 19 + ROWS.replace("b", "c"))
    after = keys(plan(*words))
    assert {label for label in before if before[label] != after[label]} == {"read", *PREPARED}


def test_local_folder_is_keyed_by_its_files(team, plan):
    team("rows/a.jsonl", ROWS)
    words = ("+recipe=tiny", "data=files", "data.train=rows")
    before = keys(plan(*words))
    team("rows/b.jsonl", ROWS)
    assert keys(plan(*words))["read"] != before["read"]


def test_no_compression_plans_no_compress_step(plan):
    labels = [step.label for step in plan("+recipe=tiny", "compression=none").steps]
    assert not [label for label in labels if label.startswith("compress")]
    assert labels.count("evaluate fp32") == 1


def test_inputs_come_before_the_steps_that_need_them(plan):
    seen: set[str] = set()
    for step in plan("+recipe=tiny").steps:
        assert {need.key for need in (*step.needs.values(), *step.after)} <= seen
        seen.add(step.key)


def test_export_waits_for_the_quality_gate(plan):
    export = plan("+recipe=tiny").step("export fp32")
    assert [step.label for step in export.after] == ["gate quality"]


def test_export_gate_bounds_bits_and_metric_loss(plan):
    words = ("+recipe=tiny", "export.parity.max_metric_loss=0.1", "export.parity.generation_agreement=0.25")
    gate = plan(*words).step("gate export").stage
    asked = {name: str(bound) for name, bound in gate.bounds.items()}
    assert asked["int4.weights_4_bit_share"] == ">= 0.5"
    assert asked["fp32.generation_agreement"] == ">= 0.5"
    assert asked["int4.generation_agreement"] == ">= 0.25"
    assert asked["fp32.batched_agreement"] == ">= 0.5"
    assert "int4.batched_agreement" not in asked
    assert asked["int4.metric_loss"] == asked["int4.batched_metric_loss"] == "<= 0.1"
    assert "fp32.metric_loss" not in asked  # it is not evaluated where something smaller is shipped
    without = plan("+recipe=tiny", "export.parity.generations=0").step("gate export").stage
    assert not [name for name in without.bounds if "generation" in name or "loss" in name]
