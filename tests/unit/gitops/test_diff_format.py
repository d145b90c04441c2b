"""The pull request's comment: complete, within the limit, and safe against injected Markdown."""

import pytest

from framework.gitops.diff_format import LIMIT, MARKER, as_markdown, as_text
from framework.gitops.differences import Difference, compared, manifest_diff
from framework.gitops.remote_compose import ComposeResult


def identity(**changes):
    plain = {"version": 1, "libraries": {}, "spec": {"rank": 8}, "content": [], "inputs": {}}
    return plain | changes


def step(label, key, **changes):
    return {"label": label, "key": key, "identity": identity(**changes)}


OLD = ComposeResult(
    config={"name": "x", "tuning": {"_target_": "framework.build.tuning.lora.Lora", "rank": 8}},
    steps=(step("tune", "a"), step("merge", "b", inputs={"tune": "a"}), step("data", "c"), step("old", "d")),
)
NEW = ComposeResult(
    config={"name": "x", "tuning": {"_target_": "framework.build.tuning.full.Full"}},
    steps=(step("tune", "e", spec={"rank": 4}), step("merge", "f", inputs={"tune": "e"}), step("data", "c")),
)


def test_changes_are_listed_with_reasons():
    difference = compared("x", OLD, NEW, {"dev/x": ""})
    assert difference.config == (("tuning", "Lora", "Full"), ("tuning.rank", "8", "(none)"))
    assert difference.steps == (("tune", "rank 8 -> 4"), ("merge", "after tune"))
    assert difference.gone == ("old",)
    text = as_text("main at 1", [difference])
    counts = (
        "config keys that differ: 2; steps that would run again: 2 of 3; environments that change: 0 of 1"
    )
    assert f"x: {counts}\n" in text
    assert "  runs again merge: after tune" in text
    assert "  manifests  dev/x: nothing changes" in text


def test_changed_stage_code_reruns_the_step():
    new = ComposeResult(config=OLD.config, steps=(step("tune", "e", version=2), *OLD.steps[1:]))
    assert compared("x", OLD, new, {}).steps == (("tune", "version of the stage changed"),)


def test_equal_results_do_not_differ_and_a_new_recipe_is_new():
    assert not compared("x", OLD, OLD, {"dev/x": ""})
    assert "x: nothing changes" in as_text("main", [compared("x", OLD, OLD, {})])
    new = compared("x", ComposeResult(error="no such recipe"), NEW, {})
    assert "x: new, 3 steps" in as_text("main", [new])
    broken = compared("x", OLD, ComposeResult(error="tuning.rnak: unknown key", exit_code=2), {})
    assert "x: cannot be planned: tuning.rnak" in as_text("main", [broken])
    assert broken.exit_code == 2


def test_manifests_are_compared_file_by_file():
    text = manifest_diff({"dev/x/a.yaml": "a: 1\n", "dev/x/b.yaml": "b: 1\n"}, {"dev/x/a.yaml": "a: 2\n"})
    assert "--- a/dev/x/a.yaml\n+++ b/dev/x/a.yaml\n" in text
    assert "-a: 1\n+a: 2\n" in text
    assert "--- a/dev/x/b.yaml\n+++ /dev/null\n" in text


@pytest.mark.parametrize("count", [1, 40, 2000])
@pytest.mark.parametrize("lines", [0, 30, 30_000])
def test_comment_never_exceeds_the_limit(count, lines):
    diff = "".join(f"+line {number}\n" for number in range(lines))
    one = Difference("r" * 30, config=(("k", "1", "x" * 5000),), steps=(("tune", "new"),), step_count=3)
    differences = [Difference(**{**vars(one), "manifests": {"dev/x": diff}}) for _ in range(count)]
    text = as_markdown("main", differences)
    assert text.startswith(f"{MARKER}\n")
    assert len(text) <= LIMIT
    assert text.count("<details>") == text.count("</details>")
    if count == 1 and lines == 30:
        assert "+line 29\n" in text
    if lines == 30_000 and count == 1:
        assert "…and 29000 more lines." in text
    if count == 2000:
        assert "more recipes than fit into a comment" in text


def test_values_cannot_break_out_of_the_comment():
    nasty = "a | b `c` <img> @somebody\n#1"
    text = as_markdown("main", [Difference("x", config=(("k", nasty, "y"),), steps=(), step_count=1)])
    row = next(line for line in text.splitlines() if "somebody" in line)
    assert row.count("|") == 4
    assert not any(sign in row for sign in ("`", "@", "<img"))
    fenced = as_markdown("main", [Difference("x", manifests={"dev/x": "+```\n+</details>\n"})])
    assert "````diff\n+```\n" in fenced
    assert "No recipe changes." in as_markdown("main", [])
