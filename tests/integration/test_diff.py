"""`run diff` against a base branch, with real Git."""

import pytest

from framework.gitops.diff_format import MARKER


@pytest.fixture
def branch(gitops, clone, remote):
    """A branch with more epochs and another Service port."""
    recipe = clone / "recipes" / "served.yaml"
    text = recipe.read_text().replace("epochs: 30", "epochs: 31")
    recipe.write_text(text.replace("deployment: {", "deployment: {service_port: 8080, "))
    gitops.git(clone, "checkout", "-q", "-b", "change")
    gitops.git(clone, "commit", "-qam", "longer")
    return clone


def test_branch_is_compared_with_its_merge_base(gitops, branch, remote):
    before = gitops.state(branch)
    done = gitops.verb(branch, "diff", "+recipe=served")
    assert done.returncode == 0, done.stderr
    assert "origin/HEAD" in done.stdout.splitlines()[0]
    assert "config     training.epochs: 30 -> 31\n" in done.stdout
    assert "config     deployment.service_port: 80 -> 8080\n" in done.stdout
    assert "tune: training.epochs 30 -> 31\n" in done.stdout
    assert "merge: after tune\n" in done.stdout
    assert "encode:" not in done.stdout
    assert "dev/one: " in done.stdout
    assert "port: 8080\n" in done.stdout
    assert gitops.state(branch) == before


def test_diff_without_a_recipe_covers_changed_ones(gitops, branch, remote):
    done = gitops.verb(branch, "diff", "format=markdown", "base=origin/main")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{MARKER}\n")
    assert "### <code>served</code>" in done.stdout
    gitops.git(branch, "checkout", "-q", "main")
    done = gitops.verb(branch, "diff", "format=markdown", "base=origin/main")
    assert "<code>served</code>" not in done.stdout


def test_broken_and_new_recipes_are_marked(gitops, branch):
    recipe = branch / "recipes" / "served.yaml"
    (branch / "recipes" / "fresh.yaml").write_text(recipe.read_text())
    recipe.write_text(recipe.read_text().replace("epochs: 31", "epocs: 31"))
    done = gitops.verb(branch, "diff", "+recipe=served,fresh")
    assert done.returncode == 2
    assert "recipes/served.yaml:12: training.epocs: " in done.stderr
    assert "served: " in done.stdout
    assert "fresh: new, " in done.stdout


def test_missing_base_is_a_one_line_error(gitops, branch):
    error = gitops.refused(branch, "diff", "+recipe=served", "base=next")
    assert "base=next: " in error
    assert "change, main" in error
    assert "format=html" in gitops.refused(branch, "diff", "+recipe=served", "format=html")
    for words in (("+recipe=served", "+recipe=tiny"), ("recipe=",), ("+recipe=served,",)):
        assert "recipe" in gitops.refused(branch, "diff", *words)
