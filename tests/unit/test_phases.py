"""A recipe with phases as a graph of steps, and what the screens say of it."""

import json

import pytest

from framework.build.tuning.full import Full
from framework.core.errors import PlanError
from framework.core.release import Release
from framework.core.store import Store
from framework.plan.build import make_plan
from framework.run.screens import _forgetting, plan_table

RECIPE = """defaults:
- /data@phases.general.data: mix
- /data@phases.general.data.parts.all.data: factbook
- /data@phases.domain.data: factbook
- override /model: tiny
- override /data: tiny
- override /tuning: full
- override /compression: int4-weight
name: x
training: {precision: fp32}
phases:
  general: {data: {rows: 50}}
  domain: {training: {epochs: 2}}
  task: {training: {epochs: 5}}
gates: {exact_match: {min: 0.1}, base.perplexity: {max: 900}, tuned.general_perplexity: {max: 800}}
"""
PHASES = ("general", "domain", "task")
EARLY = [f"{kind} {phase}" for phase in PHASES for kind in ("read", "encode")]
SHIPPED = [
    "gate quality",
    "export fp32",
    "compress int4",
    "evaluate int4",
    "parity",
    "benchmark",
    "gate export",
]


@pytest.fixture
def phased(team, config):
    team("recipes/x.yaml", RECIPE)
    return lambda *words: config("+recipe=x", *words)


@pytest.fixture
def keys(phased):
    return lambda *words: {step.label: step.key for step in make_plan(phased(*words), "x").steps}


def test_each_phase_goes_on_from_the_merged_weights_of_the_one_before(phased):
    plan = make_plan(phased(), "x")
    assert [step.label for step in plan.steps if step.label not in SHIPPED] == [
        *("read general", "model", "encode general", *EARLY[2:]),  # all rows, before anything is trained
        "evaluate base",
        *("tune general", "merge general", "evaluate general"),
        *("tune domain", "merge domain", "evaluate domain"),
        *("tune task", "merge task", "evaluate tuned"),
        "publish",
    ]
    before = "model"
    for phase in ("general", "domain", "task"):
        tune, merge = plan.step(f"tune {phase}"), plan.step(f"merge {phase}")
        assert tune.needs["model"].label == merge.needs["model"].label == before
        assert tune.needs["data"].label == f"encode {phase}"
        assert merge.needs["tune"] is tune
        before = merge.label
    assert plan.step("export fp32").needs["model"].label == "merge task"
    assert plan.step("parity").needs["data"].label == "encode task"


@pytest.mark.parametrize("candidate", ["base", "general", "domain", "tuned", "int4"])
def test_every_candidate_is_evaluated_on_the_rows_of_every_phase(candidate, phased):
    step = make_plan(phased(), "x").step(f"evaluate {candidate}")
    rows = {slot: need.label for slot, need in step.needs.items() if need.stage.name == "encode"}
    assert rows == {"data general": "encode general", "data domain": "encode domain", "data": "encode task"}
    assert step.stage.phases == ("general", "domain")


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        (
            "phases.task.training.epochs=6",
            {"model", *EARLY, "evaluate base"}
            | {
                f"{kind} {phase}" for kind in ("tune", "merge", "evaluate") for phase in ("general", "domain")
            },
        ),
        (
            "phases.domain.training.epochs=6",
            {"model", *EARLY, "evaluate base", "tune general", "merge general", "evaluate general"},
        ),
        ("phases.general.data.rows=51", {"model", *(label for label in EARLY if "general" not in label)}),
        ("phases.general.training.epochs=6", {"model", *EARLY, "evaluate base"}),
    ],
)
def test_a_change_of_one_phase_keeps_what_came_before(word, kept, keys):
    before, after = keys(), keys(word)
    assert {label for label in before if before[label] == after[label]} == kept


def test_a_changed_gate_trains_nothing_again(keys):
    before, after = keys(), keys("gates.tuned.domain_perplexity.max=9")
    assert {label for label in before if before[label] != after[label]} == {"gate quality", "publish"}


def test_a_phase_is_released_by_taking_the_later_ones_away(keys):
    before, after = keys(), keys("~phases.task", "~phases.domain", "~gates", "name=first")
    for label in ("model", "read general", "encode general", "tune general", "merge general"):
        assert after[label] == before[label]
    assert "evaluate tuned" in after
    assert "tune domain" not in after


def test_one_phase_that_says_nothing_is_the_recipe_without_phases(keys, team):
    lines = RECIPE[: RECIPE.index("phases:")].splitlines(keepends=True)
    whole = "".join(line for line in lines if "@" not in line)
    team("recipes/x.yaml", whole)
    without = keys()
    team("recipes/x.yaml", f"{whole}phases: {{only: {{}}}}\n")
    named = {"read": "read only", "encode": "encode only", "tune": "tune only", "merge": "merge only"}
    assert keys() == {named.get(label, label): key for label, key in without.items()}


def test_a_gate_on_a_phase_stands_before_the_next_is_trained(phased):
    plan = make_plan(phased("gates.general.perplexity.max=700"), "x")
    gate = plan.step("gate general")
    assert set(gate.stage.bounds) == {"general.perplexity"}
    assert plan.step("tune domain").after == (gate,)
    assert plan.last.needs["gate general"] is gate
    assert set(plan.step("gate quality").stage.bounds) == {
        "tuned.exact_match",
        "base.perplexity",
        "tuned.general_perplexity",
    }
    labels = [step.label for step in plan.steps]
    assert labels.index("gate general") < labels.index("tune domain")


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("tuned.generl_perplexity", "no such metric for causal-lm; did you mean 'general_perplexity'?"),
        ("tuned.task_perplexity", "no such metric for causal-lm; "),
        ("genral.perplexity", "no candidate 'genral'; there are base, general, domain, tuned, fp32, int4"),
        ("domain.exact_mach", "no such metric for causal-lm; did you mean 'exact_match'?"),
    ],
)
def test_a_gate_that_cannot_be_measured(gate, said, phased):
    with pytest.raises(PlanError) as caught:
        make_plan(phased(f"gates.{gate}.max=1"), "x")
    assert f"gates.{gate}: {said}" in str(caught.value)


def refused(config) -> list[str]:
    with pytest.raises(PlanError) as caught:
        make_plan(config, "x")
    return str(caught.value).split("\n  ")[1:]


def test_only_the_last_phase_may_keep_what_does_not_merge(phased, monkeypatch, team, config):
    monkeypatch.setattr(Full, "merges", False)
    lines = refused(phased("export=transformers", "compression=none"))
    assert [line.partition(":")[0] for line in lines] == ["phases.general.tuning", "phases.domain.tuning"]
    mended = RECIPE
    for phase in ("general", "domain"):
        mended = mended.replace(
            "- override /model", f"- /tuning@phases.{phase}.tuning: lora\n- override /model"
        )
        assert f"'- /tuning@phases.{phase}.tuning: lora' in 'defaults'" in "\n".join(lines)
    team("recipes/x.yaml", mended)
    make_plan(config("+recipe=x", "export=transformers", "compression=none"), "x")


def test_a_phase_may_not_be_called_like_the_compressed_candidate(team, config):
    team("recipes/x.yaml", RECIPE.replace("  general:", "  int4: {}\n  general:"))
    assert "phases.int4: the compressed candidate is called so too; rename the phase" in refused(
        config("+recipe=x")
    )


def test_a_rule_on_training_names_the_phase_and_the_override_that_mends_it(phased):
    (line,) = refused(phased("phases.domain.training.precision=fp16"))
    assert line.startswith("phases.domain.training.precision: fp16 needs a GPU; ")
    make_plan(phased("phases.domain.training.precision=fp16", line.partition("; set ")[2]), "x")


def test_the_phase_that_does_not_fit_is_named(phased):
    words = (
        "model=smollm2-135m-pypi",
        "phases.domain.training.micro_batch_size=64",
        "environment.hardware.memory_gib=9",
    )
    (line,) = refused(phased("training.precision=bf16", "training.micro_batch_size=1", *words))
    assert line.startswith("phases.domain.training: needs about ")
    mend = line.partition("it fits with ")[2].split()
    assert mend == [
        "phases.domain.training.micro_batch_size=1",
        "phases.domain.training.gradient_accumulation_steps=64",
    ]
    make_plan(phased("training.precision=bf16", "training.micro_batch_size=1", *words, *mend), "x")


def test_the_plan_takes_each_phases_own_rows_and_steps(phased, tmp_path):
    chosen = phased(
        "phases.task.training.max_steps=1", "phases.general.training.epochs=90", "model=smollm2-135m-pypi"
    )
    text = plan_table(chosen, make_plan(chosen, "x"), Store(tmp_path / "store"), None)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    seconds = {
        line.split()[1]: float(line.split("~")[1].split()[0])
        for line in text.splitlines()
        if line.startswith("tune")
    }
    assert seconds["task"] < seconds["domain"] < seconds["general"]


def test_the_table_of_forgetting(phased):
    chosen = phased()
    metrics = {}
    for number, candidate in enumerate(("base", "general", "domain", "tuned", "int4")):
        for place, phase in enumerate(("general_", "domain_", "")):
            metrics[f"{candidate}.{phase}exact_match"] = (10 * number + place) / 100
            metrics[f"{candidate}.{phase}perplexity"] = 10.0 * number + place
    lines = _forgetting(Release.model_construct(metrics=metrics), chosen)
    assert [line.split() for line in lines[1:7]] == [
        ["exact", "match", "general", "domain", "task"],
        ["base", "0.0%", "1.0%", "2.0%"],
        ["general", "*10.0%", "11.0%", "12.0%"],
        ["domain", "20.0%", "*21.0%", "22.0%"],
        ["tuned", "30.0%", "31.0%", "*32.0%"],
        ["int4", "40.0%", "41.0%", "42.0%"],
    ]
    assert lines[7].split() == ["answer", "perplexity", "general", "domain", "task"]
    assert max(map(len, lines)) <= 80
    assert (
        _forgetting(
            Release.model_construct(metrics=metrics), phased("~phases.general", "~phases.domain", "~gates")
        )
        == []
    )


def test_a_phase_survives_the_way_to_the_worker(phased):
    for step in make_plan(phased(), "x").steps:
        sorted_again = json.loads(json.dumps(step.stage.dump(), sort_keys=True))
        assert type(step.stage).model_validate(sorted_again) == step.stage


def test_an_engine_takes_the_rows_of_every_phase_whatever_stands_outside_them(phased):
    words = ["export=tensorrt", "compression=none", "deployment.gpus=1", "export.length.max=256"]
    words += ["phases.general.data.max_length=300", "phases.domain.data.max_length=256", "~gates"]
    words += ["phases.task.data.max_length=256"]
    with pytest.raises(PlanError) as caught:
        make_plan(phased(*words), "x")
    (said,) = [line for line in str(caught.value).splitlines() if "export.length" in line]
    assert said.endswith(
        "phases.general.data.max_length is 300; set export.length.max=300 or "
        "phases.general.data.max_length=256"
    )


def test_the_last_phase_decides_whether_there_are_plain_weights(team, config):
    recipe = RECIPE.replace(
        "- override /model: tiny\n", "- /tuning@phases.task.tuning: prompt\n- override /model: tiny\n"
    )
    recipe = recipe.replace("override /compression: int4-weight", "override /compression: distill")
    team("recipes/y.yaml", recipe)
    with pytest.raises(PlanError) as caught:
        make_plan(config("+recipe=y", "export=transformers"), "y")
    assert (
        "compression.distill: changes plain weights, and this tuning method keeps its own beside them; "
        "set '- /tuning@phases.task.tuning: lora'"
    ) in str(caught.value)
