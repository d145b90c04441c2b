import json
import re
from itertools import cycle

import pytest

from framework.config.options import recipe_names
from framework.config.read_recipe import listed
from framework.core.filesystem import sha256_of
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.core.store import RECORD, Store
from framework.gitops.differences import manifest_diff
from framework.plan.build import make_plan
from framework.run.screens import _numbers, brief, plan_table


@pytest.fixture(autouse=True)
def terminal(monkeypatch) -> None:
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def remember(store: Store, plan) -> dict[str, list[str]]:
    """Write the records of a built plan, as the store does; return it as the steps of an earlier run."""
    for step in plan.steps:
        folder = store.folder(step)
        folder.mkdir(parents=True)
        counted = {split: {"rows": 10, "tokens": 100} for split in ("train", "test")}
        summary = folder / "summary.json"
        summary.write_text(json.dumps(counted))
        stat = summary.stat()
        file = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(summary)}
        record = {
            "key": step.key,
            "label": step.label,
            "identity": step.identity(),
            "seconds": 61.0,
            "peak_memory_bytes": 2**30,
            "files": {summary.name: file},
        }
        (folder / RECORD).write_text(json.dumps(record))
    return {step.label: [step.key] for step in plan.steps}


RECIPES = [name for name in recipe_names(SHARE / "recipes") if not listed(name)]


@pytest.mark.parametrize(("name", "device"), [*zip(RECIPES, cycle(["cpu", "cuda"]), strict=False)])
def test_plan_fits_80_columns(name, device, config, store):
    chosen = config(
        f"+recipe={name}", f"environment.hardware.device={device}", "environment.hardware.price_per_hour=2.5"
    )
    text = plan_table(chosen, make_plan(chosen, name), store, {}, None)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert f"On {device}: about " in text
    assert re.search(r"about \d+\.\d\d at 2\.5 an hour", text)


def test_plan_lists_what_a_bare_gate_binds(config, store):
    chosen = config("+recipe=tiny", "gates.agreement.min=0.5", "gates.int4.agreement.min=0.6")
    text = " ".join(plan_table(chosen, make_plan(chosen, "tiny"), store, {}, None).split())
    assert "gates.exact_match >= 0.5: binds tuned, int4 (released); not measured of fp32 " in text
    assert (
        "gates.agreement >= 0.5: binds fp32; int4 (released) by its own bound; not measured of tuned " in text
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "autoscaling=keda: waiting requests, KV cache use (vLLM), since the CPU use"),
        (("autoscaling=fixed",), "autoscaling=fixed: a fixed number of pods, since the CPU use"),
    ],
)
def test_plan_of_vllm_needs_no_other_override_and_says_what_it_scales_on(words, line, config, store):
    chosen = config("+recipe=tiny", "compression=none", "deployment=vllm", *words)
    text = plan_table(chosen, make_plan(chosen, "tiny"), store, {}, None)
    assert line in " ".join(text.split())
    without = config("+recipe=tiny")
    assert "autoscaling" not in plan_table(without, make_plan(without, "tiny"), store, {}, None)


def test_warnings_and_long_names_are_wrapped(config, store):
    chosen = config("+recipe=tiny", "model=smollm2-135m", f"name={'n' * 40}", "environment=production", IMAGE)
    text = plan_table(chosen, make_plan(chosen, "x"), store, {}, None)
    assert "warning: model." in text
    assert "hf://HuggingFaceTB/SmolLM2-135M-Instruct@main is not pinned" in " ".join(text.split())
    assert [line for line in text.splitlines() if len(line) > 80] == []


IMAGE = f"deployment.image=gitune/server@sha256:{'0' * 64}"


def test_what_is_built_shows_what_it_really_took(config, store):
    chosen = config("+recipe=tiny")
    plan = make_plan(chosen, "tiny")
    remember(store, plan)
    text = plan_table(chosen, plan, store, {}, "")
    assert text.count("cached") == len(plan.steps)
    assert "61 s" in text
    assert "On cpu: about 0 s to run." in text
    assert "Manifests: environments/dev/tiny/ is up to date." in text
    assert "would change:\n\n+replicas" in plan_table(chosen, plan, store, {}, "+replicas\n")


@pytest.mark.parametrize(
    ("words", "label", "why"),
    [
        (("gates.exact_match.min=0.25",), "gate quality", "bounds.tuned.exact_match.min 0.5 -> 0.25"),
        (("publish.url=s3://bucket",), "publish", "publish.url file://.gitune/models -> s3://bucket"),
    ],
)
def test_reason_is_cut_to_the_width_of_the_terminal(words, label, why, config, store, monkeypatch):
    earlier = remember(store, make_plan(config("+recipe=tiny", "tuning=lora"), "test"))
    chosen = config("+recipe=tiny", "tuning=lora", *words)

    def shown(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = plan_table(chosen, make_plan(chosen, "test"), store, earlier, None).splitlines()
        (line,) = [line for line in lines if line.startswith(f"{label} ")]
        assert len(line) <= max(80, columns)
        return line

    assert f" {why} " in shown(200)
    assert len(shown(200)) == len(shown(120))  # no wider than it needs to be
    for columns, room in ((80, 36), (40, 30)):
        cut = why if len(why) <= room else f"…{why[1 - room :]}"
        assert f" {cut} " in shown(columns)


def test_metric_of_any_task_is_shown(config):
    measured = {"base.span_f1": 0.015, "tuned.span_f1": 0.8625, "tuned.accuracy": 0.986}
    lines = _numbers(Release.model_construct(metrics=measured), config("+recipe=entities"))
    assert [line.split() for line in lines[1:3]] == [
        ["span", "F1", "0.015", "0.863"],
        ["accuracy", "98.6%"],
    ]


def test_added_or_removed_file_is_one_diff_line():
    old = {"dev/x/a.yaml": "a: 1\nb: 2\n", "dev/x/gone.yaml": "--- c\n-- d\n"}
    new = {"dev/x/a.yaml": "a: 1\nb: 3\n", "dev/x/come.yaml": "e: 1\n"}
    changed = manifest_diff({"dev/x/a.yaml": old["dev/x/a.yaml"]}, {"dev/x/a.yaml": new["dev/x/a.yaml"]})
    shown = brief(manifest_diff(old, new))
    assert shown == f"{changed}new file dev/x/come.yaml\nremoved  dev/x/gone.yaml"
    assert "-b: 2\n+b: 3\n" in shown
