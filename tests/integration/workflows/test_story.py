"""The full cycle with real Git: a recipe is edited, planned, trained, promoted and rolled back.

Workflows run unchanged; the test merges their pull requests.
"""

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_judge
import kubernetes_validate
import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]
IMAGE = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
CORE = ("v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1")


def validated(hub: Any, name: str, *environments: str) -> dict[str, dict[str, str]]:
    """Return the files of each environment on main, after validating all objects."""
    clone = hub.clone(name)
    files = {}
    for environment in environments:
        folder = clone / "environments" / environment / "tiny"
        files[environment] = {file.name: file.read_text() for file in sorted(folder.iterdir())}
        objects = [
            yaml.safe_load(text) for file, text in files[environment].items() if file.endswith(".yaml")
        ]
        assert {"ConfigMap", "Deployment", "Service"} <= {item["kind"] for item in objects}
        for item in objects:
            if item["apiVersion"] in CORE:
                kubernetes_validate.validate(item, "1.37", strict=True)
    _, problems = kubernetes_judge.judge(clone / "environments")
    assert problems == []
    return files


def lock(hub: Any, environment: str) -> dict[str, Any]:
    return json.loads(hub.show(f"environments/{environment}/tiny/release.lock"))


@dataclass
class Story:
    """Actions of people and workflows."""

    hub: Any
    pull_request: Callable[..., dict[str, Any]]
    trained: str = ""
    """The last trained commit."""

    def edit(self, branch: str, old: str, new: str) -> None:
        """Edit the recipe on a new branch and push it."""
        clone = self.hub.clone(branch)
        self.hub.git(clone, "switch", "--quiet", "--create", branch)
        recipe = clone / "recipes" / "tiny.yaml"
        assert old in recipe.read_text()
        recipe.write_text(recipe.read_text().replace(old, new))
        self.hub.commit(clone, f"Recipe tiny: {branch}", branch)

    def plan(self, branch: str) -> str:
        """Return the one comment on a branch's pull request."""
        ran = self.hub.run("plan", "pull_request", self.pull_request(branch), branch=branch)
        assert ran.returncode == 0, ran.output
        (comment,) = self.hub.state()["comments"]
        return html.unescape(comment["body"])

    def train(self, branch: str) -> dict[str, Any]:
        """Merge a branch, train its recipes and return the pull request with the new lock."""
        before, self.trained = self.hub.merge(branch)
        after = self.trained
        ran = self.hub.run("train", "push", {"before": before, "after": after, "ref": "refs/heads/main"})
        assert ran.returncode == 0, ran.output
        return self.opened("train/tiny-dev-")

    def promote(self, start: str, end: str) -> dict[str, Any]:
        """Promote and return the pull request."""
        inputs = {"release": "tiny", "from": start, "to": end}
        ran = self.hub.run("promote", "workflow_dispatch", {"inputs": inputs})
        assert ran.returncode == 0, ran.output
        return self.opened(f"promote/tiny-{end}-")

    def opened(self, branch: str) -> dict[str, Any]:
        """Return the newest pull request after checking that it changes one folder of environments."""
        pull = self.hub.state()["pulls"][-1]
        assert pull["base"] == "main"
        assert re.fullmatch(rf"{branch}[0-9a-f]{{12}}", pull["head"])
        changed = self.hub.git(self.hub.bare, "diff", "--name-only", f"main...{pull['head']}").splitlines()
        assert changed
        folders = {name.rpartition("/")[0] for name in changed}
        assert folders == {f"environments/{branch.split('-')[-2]}/tiny"}
        return pull


@pytest.fixture
def story(hub: Any, pull_request: Callable[..., dict[str, Any]]) -> Story:
    return Story(hub, pull_request)


def test_recipe_is_promoted_to_production_and_rolled_back(hub: Any, story: Any) -> None:
    # The recipe pins an image. Each push updates the one comment with the plan.
    story.edit("pinned", "name: tiny\n", f"name: tiny\ndeployment: {{image: '{IMAGE}'}}\n")
    assert IMAGE in story.plan("pinned")
    assert IMAGE in story.plan("pinned")

    proposed = story.train("pinned")
    assert "exact_match" in proposed["body"]
    assert "| " in proposed["body"]  # the report's tables
    hub.merge(proposed["head"])
    good = lock(hub, "dev")
    assert good["recipe"] == "tiny"
    assert good["commit"] == story.trained  # the lock names the merged commit

    for start, end in (("dev", "staging"), ("staging", "production")):
        hub.merge(story.promote(start, end)["head"])
        assert lock(hub, end) == good
    before = validated(hub, "before", "dev", "staging", "production")

    # This release passes its gates but turns out bad in production.
    story.edit("worse", "name: tiny\n", "name: tiny\nseed: 1\n")
    assert "seed" in story.plan("worse")
    hub.merge(story.train("worse")["head"])
    bad = lock(hub, "dev")
    assert bad["digest"] != good["digest"]
    for start, end in (("dev", "staging"), ("staging", "production")):
        hub.merge(story.promote(start, end)["head"])
    assert lock(hub, "production") == bad
    validated(hub, "meanwhile", "dev", "staging", "production")

    start = hub.git(hub.bare, "rev-parse", "main")
    inputs = {"release": "tiny", "environment": "production"}
    ran = hub.run("rollback", "workflow_dispatch", {"inputs": inputs})
    assert ran.returncode == 0, ran.output
    assert hub.git(hub.bare, "rev-list", "--count", f"{start}..main") == "1"
    after = validated(hub, "after", "dev", "staging", "production")
    assert after["production"] == before["production"]
    assert lock(hub, "dev") == bad

    ran = hub.run("drift", "schedule", {"schedule": "17 4 * * *"})
    assert ran.returncode == 0, ran.output
