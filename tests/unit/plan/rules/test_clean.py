"""The steps of cleaning, and the rules of its options."""

import pytest

from framework.core.errors import ConfigError, PlanError
from framework.plan.estimate import data_sizes, estimate
from framework.plan.rules.clean import clean_rules
from framework.plan.rules.install import needed_extras

CHOSEN = "clean=[normalize,exact,near,pii]"


def keys(plan) -> dict[str, str]:
    return {step.label: step.key for step in plan.steps}


def test_options_run_in_the_order_of_the_list(plan) -> None:
    labels = [step.label for step in plan("+recipe=tiny", "clean=[pii,exact]").steps]
    assert labels[:3] == ["read", "clean pii", "clean exact"]
    assert "clean none" not in [step.label for step in plan("+recipe=tiny").steps]


def test_changed_rule_runs_what_follows_it_and_nothing_else(plan) -> None:
    before = keys(plan("+recipe=tiny", CHOSEN))
    after = keys(plan("+recipe=tiny", CHOSEN, "clean.exact.on=prompt"))
    same = {label for label in before if before[label] == after[label]}
    assert same == {"read", "clean normalize", "model"}
    unkeyed = ("clean.near.workers=4", "clean.near.max_removed=0.9")
    assert keys(plan("+recipe=tiny", CHOSEN, *unkeyed)) == before


def test_reference_enters_the_key_by_its_content(plan, team) -> None:
    words = ("+recipe=tiny", "clean=perplexity", "clean.perplexity.reference=wanted.txt")
    found = []
    for text in ("some text\n", "another text\n"):
        team("wanted.txt", text)
        found.append(keys(plan(*words))["clean perplexity"])
    assert found[0] != found[1]


def test_every_phase_is_cleaned(plan) -> None:
    labels = [step.label for step in plan("+recipe=finance-three-phase", "clean=exact").steps]
    assert [label for label in labels if label.startswith("clean")] == [
        f"clean exact {phase}" for phase in ("general", "domain", "task")
    ]


def test_only_options_that_need_packages_need_the_extra(config) -> None:
    assert needed_extras(config("+recipe=tiny", "clean=[normalize,heuristics,pii]")) == []
    assert needed_extras(config("+recipe=tiny", "clean=entities")) == []
    for option in ("exact", "near", "language", "perplexity", "substring", "schema"):
        assert needed_extras(config("+recipe=tiny", f"clean={option}")) == ["clean"]


def test_estimate_follows_the_rows_and_the_processes(config, plan, team) -> None:
    team("rows.jsonl", '{"text": "some text to learn from"}\n' * 400_000)
    words = ("+recipe=tiny", "data=files", "data.train=rows.jsonl", "data.test_fraction=0.1", "clean=near")
    times = []
    for more in ((), ("clean.near.workers=4",)):
        steps = plan(*words, *more).steps
        (step,) = [step for step in steps if step.label == "clean near"]
        times.append(estimate(step, config(*words, *more), data_sizes(steps, lambda step: None)).seconds)
    assert 10 < times[0] < 1000
    assert times[1] - 1 == pytest.approx((times[0] - 1) / 4)


@pytest.mark.parametrize(
    ("words", "key", "overrides"),
    [
        (("clean=[none,exact]",), "clean.none", ("clean=exact",)),
        (("clean=[none,exact,near]",), "clean.none", ("clean=[exact,near]",)),
        (("clean=pii", "clean.pii.action=hash"), "clean.pii.salt", ("clean.pii.salt=<random-text>",)),
        (("clean=normalize", "clean.normalize.boilerplate=['']"), "clean.normalize.boilerplate", ()),
    ],
)
def test_settings_that_do_not_work_are_named_with_a_fix(config, words, key, overrides) -> None:
    (problem,) = clean_rules(config("+recipe=tiny", *words))
    assert (problem.key, problem.overrides) == (key, overrides)


def test_plan_stops_on_them(plan) -> None:
    with pytest.raises(PlanError, match=r"clean\.pii\.salt"):
        plan("+recipe=tiny", "clean=pii", "clean.pii.action=hash")


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("clean.exact.on=questions", "clean.exact.on"),
        ("clean.exact.max_removed=0", "clean.exact.max_removed"),
        ("clean.exact.workers=0", "clean.exact.workers"),
        ("+clean.exact.threshold=0.5", "clean.exact.threshold"),
    ],
)
def test_values_are_validated(config, word, key) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        config("+recipe=tiny", "clean=exact", f"++{word.lstrip('+')}")


def test_schema_is_written_in_the_config_by_column(config, plan) -> None:
    checks = "clean.schema.checks={answer: {required: true, max_length: 9}, answer.n: {type: integer}}"
    option = config("+recipe=tiny", "clean=schema", checks).clean["schema"]
    assert option.checks["answer.n"].type == "integer"
    with pytest.raises(PlanError, match=r"clean\.schema\.checks"):
        plan("+recipe=tiny", "clean=schema")
    with pytest.raises(PlanError, match="did you mean 'answer'"):
        plan("+recipe=tiny", "clean=schema", "clean.schema.checks={answr: {required: true}}")
    with pytest.raises(ConfigError, match=r"clean\.schema\.checks\.answer\.requierd"):
        config("+recipe=tiny", "clean=schema", "clean.schema.checks={answer: {requierd: true}}")
