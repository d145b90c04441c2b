"""The steps of selecting, and the rules of its options."""

import pytest

from framework.plan.estimate import data_sizes
from framework.plan.rules.install import needed_extras
from framework.plan.rules.select import select_rules


def test_rows_are_selected_after_all_cleaning_in_the_order_of_the_list(plan, team) -> None:
    team("examples.jsonl", '{"text": "one"}\n')
    words = ("select=[diversity,target]", "select.target.target=examples.jsonl", "clean=pii")
    labels = [step.label for step in plan("+recipe=tiny", *words).steps]
    assert labels[:4] == ["read", "clean pii", "select diversity", "select target"]
    assert "select none" not in [step.label for step in plan("+recipe=tiny").steps]


def test_a_changed_option_keeps_what_is_before_it(plan) -> None:
    words = ("+recipe=tiny", "clean=pii", "select=diversity")
    before, after = (
        {step.label: step.key for step in plan(*words, *more).steps}
        for more in ((), ("select.diversity.rows=9",))
    )
    assert {label for label in before if before[label] == after[label]} == {"read", "clean pii", "model"}


def test_the_plan_counts_the_rows_that_are_taken(plan) -> None:
    words = ("+recipe=tiny", "select=diversity")
    trained = {}
    for more in ((), ("select.diversity.share=0.25",), ("select.diversity.rows=7",)):
        steps = plan(*words, *more).steps
        (step,) = [step for step in steps if step.label == "select diversity"]
        sizes = data_sizes(steps, lambda step: None)
        trained[more] = sizes[step.key].train / sizes[step.needs["rows"].key].train
    half, quarter, seven = trained.values()
    assert (round(half, 1), round(quarter, 2)) == (0.5, 0.25)
    assert seven < quarter


def test_packages_of_an_option_are_an_extra(config) -> None:
    assert needed_extras(config("+recipe=tiny", "select=diversity")) == ["clean", "select"]
    assert needed_extras(config("+recipe=tiny", "select=labels")) == ["clean"]


def test_none_is_alone(config) -> None:
    (problem,) = select_rules(config("+recipe=tiny", "select=[none,diversity]"))
    assert (problem.key, problem.overrides) == ("select.none", ("select=diversity",))


@pytest.mark.parametrize(
    ("chosen", "instead"), [("labels", "select=none"), ("[labels,diversity]", "select=diversity")]
)
def test_labels_are_balanced_for_classifiers_alone(config, chosen, instead) -> None:
    (problem,) = select_rules(config("+recipe=tiny", f"select={chosen}"))
    assert (problem.key, problem.overrides) == ("select.labels", (instead,))
    assert select_rules(config("+recipe=tiny", "model=tiny-encoder", f"select={chosen}")) == []


def test_other_examples_select_again(plan, team) -> None:
    words = ("+recipe=tiny", "select=target", "select.target.target=examples.jsonl")
    keys = []
    for text in ("one", "another"):
        team("examples.jsonl", f'{{"text": "{text}"}}\n')
        (step,) = [step for step in plan(*words).steps if step.label == "select target"]
        keys.append(step.key)
    assert keys[0] != keys[1]
