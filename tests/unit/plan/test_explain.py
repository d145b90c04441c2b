import json
from types import SimpleNamespace

import pytest

from framework.core import step_history
from framework.core.step_history import History
from framework.core.store import RECORD, Store
from framework.plan.explain import why_not_cached


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def remember(store: Store, plan) -> History:
    """Write the records of a built plan; return it as the steps of an earlier run."""
    for step in plan.steps:
        folder = store.folder(step)
        folder.mkdir(parents=True)
        record = {"key": step.key, "label": step.label, "identity": step.identity()}
        (folder / RECORD).write_text(json.dumps(record))
    step_history.remember(store.root, "recipe/tiny", plan.steps)
    return step_history.read(store.root, "recipe/tiny")


def test_nothing_is_built_in_an_empty_store(plan, store):
    assert {why_not_cached(step, store, {}) for step in plan("+recipe=tiny").steps} == {"not built yet"}


@pytest.mark.parametrize(
    ("words", "label", "why"),
    [
        (("tuning.rank=8",), "tune", "tuning.rank 16 -> 8"),
        (("tuning.rank=8",), "merge", "tuning.rank 16 -> 8"),
        (("tuning.rank=8",), "evaluate tuned", "after candidate"),
        (("tuning.rank=8",), "publish", "after benchmark and 6 more"),
        (("tuning=full",), "tune", "tuning LoRA -> Full"),
        (("data.max_length=64",), "encode", "max_length 128 -> 64"),
        (("data.max_length=64",), "tune", "after data"),
        (("gates.exact_match.min=0.25",), "gate quality", "bounds.tuned.exact_match.min 0.5 -> 0.25"),
        (("gates.exact_match.min=0.25",), "publish", "after gate export and 1 more"),
        (("+gates.perplexity.max=9",), "gate quality", "bounds.tuned.perplexity is new"),
        (("seed=1",), "model", "seed 0 -> 1"),
        (("publish.url=s3://bucket",), "publish", "publish.url file://.gitune/models -> s3://bucket"),
        (("name=other",), "publish", "release tiny -> other"),
    ],
)
def test_first_changed_key_is_the_reason(words, label, why, plan, store):
    earlier = remember(store, plan("+recipe=tiny", "tuning=lora"))
    assert why_not_cached(plan("+recipe=tiny", "tuning=lora", *words).step(label), store, earlier) == why


def test_steps_of_another_recipe_are_no_reason(plan, store):
    remember(store, plan("+recipe=tiny"))
    other = plan("+recipe=tiny", "seed=1")
    assert (
        why_not_cached(other.step("model"), store, step_history.read(store.root, "recipe/x"))
        == "not built yet"
    )


def test_run_that_failed_is_compared_with_the_one_before(plan, store):
    remember(store, plan("+recipe=tiny", "tuning=lora"))
    failed = plan("+recipe=tiny", "tuning=lora", "tuning.rank=4")
    step_history.remember(store.root, "recipe/tiny", failed.steps)  # its training built nothing
    earlier = step_history.read(store.root, "recipe/tiny")
    now = plan("+recipe=tiny", "tuning=lora", "tuning.rank=8")
    assert why_not_cached(now.step("tune"), store, earlier) == "tuning.rank 16 -> 8"
    assert why_not_cached(failed.step("tune"), store, earlier) == "tuning.rank 16 -> 4"


def test_broken_history_is_no_history(store):
    file = store.root / "history" / "name" / "x.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert step_history.read(store.root, "name/x") == {}


def test_changed_file_is_the_reason(team, plan, store):
    words = ("+recipe=tiny", "data=files", "data.train=rows.jsonl")
    team("rows.jsonl", '{"text": "a"}\n')
    earlier = remember(store, plan(*words))
    team("rows.jsonl", '{"text": "another"}\n')
    assert why_not_cached(plan(*words).step("read"), store, earlier) == "a local file changed"


def altered(store: Store, step, **parts) -> None:
    """Pretend that another version of the framework made the step's artifact."""
    file = store.folder(step) / RECORD
    record = json.loads(file.read_text())
    record["identity"] |= parts
    file.parent.rename(file.parent.with_name("older"))
    step_history.remember(store.root, "recipe/tiny", [SimpleNamespace(label=step.label, key="older")])
    (store.root / step.stage.name / "older" / RECORD).write_text(json.dumps(record))


def test_changed_version_of_the_stage_is_the_reason(plan, store):
    chosen = plan("+recipe=tiny")
    remember(store, chosen)
    altered(store, chosen.step("tune"), version=0)
    altered(store, chosen.step("merge"), libraries={"torch": "1.0"})
    earlier = step_history.read(store.root, "recipe/tiny")
    assert why_not_cached(chosen.step("tune"), store, earlier) == "version of the stage changed"
    assert why_not_cached(chosen.step("merge"), store, earlier) == "libraries of the stage changed"
