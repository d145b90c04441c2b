"""The workflow `plan` where a recipe is wrong, and where the pull request comes from a fork."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_unchanged_recipes_get_no_comment(hub: Any, pull_request: Callable[..., dict[str, Any]]) -> None:
    clone = hub.clone("aside")
    (clone / "constraints.txt").write_text("# changed\n")
    hub.commit(clone, "Change nothing that is built", "aside")
    ran = hub.run("plan", "pull_request", pull_request("aside"), branch="aside")
    assert ran.returncode == 0, ran.output
    assert "No recipe changes." in ran.output
    assert hub.state()["comments"] == []


def test_invalid_recipe_is_commented_on_and_fails(
    hub: Any, pull_request: Callable[..., dict[str, Any]]
) -> None:
    clone = hub.clone("typo")
    recipe = clone / "recipes" / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("epochs:", "epoch:"))
    hub.commit(clone, "Train longer", "typo")

    ran = hub.run("plan", "pull_request", pull_request("typo", owner="somebody/fork"), branch="typo")
    assert ran.returncode != 0
    assert "did you mean 'epochs'?" in ran.output
    assert "comments" not in hub.state()

    ran = hub.run("plan", "pull_request", pull_request("typo"), branch="typo")
    assert ran.returncode != 0
    (comment,) = hub.state()["comments"]
    assert "training.epoch: unknown key; did you mean 'epochs'?" in comment["body"]
    assert {call["token"] for call in hub.state()["gh"]} == {"the-jobs-own-token"}
