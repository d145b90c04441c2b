"""The workflow `plan` on unchanged and invalid recipes, and on pull requests from a fork."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_unchanged_recipes_get_no_comment(hub: Any, pull_request: Callable[..., dict[str, Any]]) -> None:
    clone = hub.clone("unrelated")
    (clone / "constraints.txt").write_text("# changed\n")
    hub.commit(clone, "Change no recipe", "unrelated")
    ran = hub.run("plan", "pull_request", pull_request("unrelated"), branch="unrelated")
    assert ran.returncode == 0, ran.output
    assert hub.state()["comments"] == []


def test_merge_queue_compares_with_its_own_base_and_comments_nowhere(hub: Any) -> None:
    """The base is a commit of the queue, which need not be on main."""
    clone = hub.clone("queued")
    (clone / "constraints.txt").write_text("# changed\n")
    hub.commit(clone, "Another pull request of the queue", "queued")
    base = hub.git(clone, "rev-parse", "HEAD").strip()
    recipe = clone / "recipes" / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 30", "epochs: 31"))
    hub.commit(clone, "Train longer", "queued")
    payload = {"merge_group": {"base_sha": base, "base_ref": "refs/heads/main"}}
    ran = hub.run("plan", "merge_group", payload, branch="queued")
    assert ran.returncode == 0, ran.output
    assert "training.epochs" in ran.output
    assert hub.state().get("comments", []) == []


def test_invalid_recipe_is_commented_on_and_fails(
    hub: Any, pull_request: Callable[..., dict[str, Any]]
) -> None:
    clone = hub.clone("typo")
    recipe = clone / "recipes" / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("epochs:", "epoch:"))
    hub.commit(clone, "Train longer", "typo")

    ran = hub.run("plan", "pull_request", pull_request("typo", owner="someone/fork"), branch="typo")
    assert ran.returncode != 0
    assert "training.epoch: " in ran.output
    assert "comments" not in hub.state()

    ran = hub.run("plan", "pull_request", pull_request("typo"), branch="typo")
    assert ran.returncode != 0
    (comment,) = hub.state()["comments"]
    assert "training.epoch: " in comment["body"]
    assert "epochs" in comment["body"]
    assert {call["token"] for call in hub.state()["gh"]} == {"the-jobs-own-token"}
