"""The plan of a recipe with phases, and its screens."""

import json

import pytest

from framework.build.tuning.full import Full
from framework.core.errors import PlanError
from framework.core.problem import Problem
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


def test_phase_trains_the_merged_weights_of_the_previous(phased):
    plan = make_plan(phased(), "x")
    assert [step.label for step in plan.steps if step.label not in SHIPPED] == [
        *("read general", "model", "encode general", *EARLY[2:]),  # all data comes before any training
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
def test_candidate_is_evaluated_on_every_phases_rows(candidate, phased):
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
def test_changed_phase_keeps_earlier_steps(word, kept, keys):
    before, after = keys(), keys(word)
    assert {label for label in before if before[label] == after[label]} == kept


def test_changed_gate_trains_nothing_again(keys):
    before, after = keys(), keys("gates.tuned.domain_perplexity.max=9")
    assert {label for label in before if before[label] != after[label]} == {"gate quality", "publish"}
    after = keys("gates.domain_perplexity.max=9")  # of the exported model too
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {"gate quality", "gate export", "publish"}


def test_phase_is_released_without_the_later_ones(keys):
    before, after = keys(), keys("~phases.task", "~phases.domain", "~gates", "name=first")
    for label in ("model", "read general", "encode general", "tune general", "merge general"):
        assert after[label] == before[label]
    assert "evaluate tuned" in after
    assert "tune domain" not in after


def test_empty_phase_equals_a_recipe_without_phases(keys, team):
    lines = RECIPE[: RECIPE.index("phases:")].splitlines(keepends=True)
    single = "".join(line for line in lines if "@" not in line)
    team("recipes/x.yaml", single)
    without = keys()
    team("recipes/x.yaml", f"{single}phases: {{only: {{}}}}\n")
    labels = {"read": "read only", "encode": "encode only", "tune": "tune only", "merge": "merge only"}
    assert keys() == {labels.get(label, label): key for label, key in without.items()}


def test_phase_gate_runs_before_the_next_training(phased):
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
    ("gate", "advice"),
    [
        ("tuned.generl_perplexity", "did you mean 'general_perplexity'?"),
        ("tuned.task_perplexity", "did you mean 'general_perplexity'?"),
        ("genral.perplexity", "choose one of base, general, domain, tuned, fp32, int4"),
        ("domain.exact_mach", "did you mean 'exact_match'?"),
    ],
)
def test_gate_on_an_unmeasured_metric_is_rejected(gate, advice, phased):
    (problem,) = refused(phased(f"gates.{gate}.max=1"))
    assert problem.key == f"gates.{gate}"
    if "task_" not in gate:
        assert problem.advice == advice


def refused(config) -> tuple[Problem, ...]:
    with pytest.raises(PlanError) as caught:
        make_plan(config, "x")
    return caught.value.problems


def test_only_the_last_phase_may_keep_unmerged_weights(phased, monkeypatch, team, config):
    monkeypatch.setattr(Full, "merges", False)
    problems = refused(phased("export=transformers", "compression=none"))
    assert [(problem.key, problem.overrides) for problem in problems] == [
        (f"phases.{phase}.tuning", (f"tuning@phases.{phase}.tuning=lora",)) for phase in ("general", "domain")
    ]
    fixed = RECIPE
    for problem in problems:
        group, option = problem.overrides[0].split("=")
        line = f"- /{group}: {option}"
        assert f"'{line}' in 'defaults'" in str(problem)
        fixed = fixed.replace("- override /model", f"{line}\n- override /model")
    team("recipes/x.yaml", fixed)
    make_plan(config("+recipe=x", "export=transformers", "compression=none"), "x")


def test_phase_is_not_named_like_the_compressed_candidate(team, config):
    team("recipes/x.yaml", RECIPE.replace("  general:", "  int4: {}\n  general:"))
    assert "phases.int4" in [problem.key for problem in refused(config("+recipe=x"))]


def test_training_rule_names_the_phase(phased, fixes):
    phased()
    (problem,) = fixes("+recipe=x", "phases.domain.training.precision=fp16")
    assert problem.key == "phases.domain.training.precision"
    assert problem.overrides == ("phases.domain.training.precision=bf16",)


def test_tuning_rule_names_a_choice_for_the_phase(phased, fixes):
    phased()
    (problem,) = fixes("+recipe=x", "+tuning@phases.domain.tuning=adalora", "parallelism=fsdp2")
    assert problem.overrides == ("parallelism=ddp", "tuning@phases.domain.tuning=lora")


def test_phase_that_does_not_fit_is_named(phased, fixes):
    words = (
        "model=smollm2-135m-pypi",
        "phases.domain.training.micro_batch_size=64",
        "environment.hardware.memory_gib=9",
    )
    phased()
    (problem,) = fixes("+recipe=x", "training.precision=bf16", "training.micro_batch_size=1", *words)
    assert problem.key == "phases.domain.training"
    assert problem.overrides == (
        "phases.domain.training.micro_batch_size=1 phases.domain.training.gradient_accumulation_steps=64",
    )


def test_plan_estimates_each_phases_own_rows(phased, tmp_path):
    chosen = phased(
        "phases.task.training.max_steps=1", "phases.general.training.epochs=90", "model=smollm2-135m-pypi"
    )
    text = plan_table(chosen, make_plan(chosen, "x"), Store(tmp_path / "store"), {}, None)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    seconds = {
        line.split()[1]: float(line.split("~")[1].split()[0])
        for line in text.splitlines()
        if line.startswith("tune")
    }
    assert seconds["task"] < seconds["domain"] < seconds["general"]


def test_forgetting_table_lists_every_phase(phased):
    chosen = phased()
    metrics = {}
    for number, candidate in enumerate(("base", "general", "domain", "tuned", "int4")):
        for index, phase in enumerate(("general_", "domain_", "")):
            metrics[f"{candidate}.{phase}exact_match"] = (10 * number + index) / 100
            metrics[f"{candidate}.{phase}perplexity"] = 10.0 * number + index
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


def test_phase_survives_serialization(phased):
    for step in make_plan(phased(), "x").steps:
        sorted_again = json.loads(json.dumps(step.stage.dump(), sort_keys=True))
        assert type(step.stage).model_validate(sorted_again) == step.stage


def test_engine_accepts_the_rows_of_every_phase(phased):
    words = ["export=tensorrt", "compression=none", "deployment.gpus=1", "export.length.max=256"]
    words += ["phases.general.data.max_length=300", "phases.domain.data.max_length=256", "~gates"]
    words += ["phases.task.data.max_length=256"]
    (problem,) = [problem for problem in refused(phased(*words)) if problem.key == "export.length.max"]
    assert problem.overrides == ("export.length.max=300", "phases.general.data.max_length=256")


def test_last_phase_decides_whether_weights_are_plain(team, config):
    recipe = RECIPE.replace(
        "- override /model: tiny\n", "- /tuning@phases.task.tuning: prompt\n- override /model: tiny\n"
    )
    recipe = recipe.replace("override /compression: int4-weight", "override /compression: distill")
    team("recipes/y.yaml", recipe)
    problems = refused(config("+recipe=y", "export=transformers"))
    problem = next(problem for problem in problems if problem.key == "compression.distill")
    assert problem.overrides == ("tuning@phases.task.tuning=lora",)
