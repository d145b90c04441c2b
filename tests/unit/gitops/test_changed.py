"""The recipes that commits changed, in a real repository."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.core.errors import GitError, ReleaseError
from framework.core.release import Release
from framework.gitops.changed import changed_recipes

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny.lock"
LOCK = Release.read(GOLDEN).model_copy(update={"recipe": "released"}).text()
BASED = (
    "defaults:\n- override /model: tiny\n- override /data: {data}\n- override /tuning: ours\nname: {name}\n"
)


@pytest.fixture
def git(team: Callable[[str, str], Path], tmp_path: Path) -> Callable[..., None]:
    """A repository with two recipes that share an option; one of them is released."""

    def call(*words: str) -> None:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    team("conf/tuning/ours.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 3\n")
    team(
        "conf/data/rows.yaml", "_target_: framework.build.data.files.Files\ntrain: recipes/data/rows.jsonl\n"
    )
    team("recipes/data/rows.jsonl", "{}\n")
    team("recipes/released.yaml", BASED.format(data="tiny", name="released"))
    team("recipes/deep/new.yaml", BASED.format(data="rows", name="new"))
    team("recipes/both.yaml", "recipes: [released, deep/new]\n")
    team("environments/staging/released/release.lock", LOCK)
    call("init", "-q", "-b", "main")
    call("add", ".")
    call("commit", "-qm", "Begin")
    call("switch", "-qc", "change")
    return call


def committed(git: Callable[..., None], file: Path) -> list[str]:
    file.write_text(file.read_text() + "\n# changed\n")
    git("commit", "-qam", "Change")
    return changed_recipes("main")


def test_unchanged_branch_changes_no_recipe(git) -> None:
    assert changed_recipes("main") == []


def test_recipe_is_changed_by_its_own_file(git, tmp_path) -> None:
    assert committed(git, tmp_path / "recipes/deep/new.yaml") == ["deep/new"]


def test_recipe_is_changed_by_its_rows(git, tmp_path) -> None:
    assert committed(git, tmp_path / "recipes/data/rows.jsonl") == ["deep/new"]


def test_changed_option_only_affects_released_recipes(git, tmp_path) -> None:
    assert committed(git, tmp_path / "conf/tuning/ours.yaml") == ["released"]


def test_extending_recipe_changes_with_its_base(git, team, tmp_path) -> None:
    team("recipes/longer.yaml", "defaults:\n- released\n- _self_\nname: longer\n")
    git("add", ".")
    git("commit", "-qm", "Extend")
    git("branch", "-f", "main")
    assert committed(git, tmp_path / "recipes/released.yaml") == ["longer", "released"]


def test_environments_and_lists_do_not_change_recipes(git, tmp_path) -> None:
    lock = tmp_path / "environments/staging/released/app.json"
    lock.write_text("{}")
    git("add", ".")
    assert committed(git, tmp_path / "recipes/both.yaml") == []


def test_commits_on_the_base_are_ignored(git, tmp_path) -> None:
    git("switch", "-q", "main")
    (tmp_path / "recipes/released.yaml").write_text("name: other\n")
    git("commit", "-qam", "Meanwhile")
    git("switch", "-q", "change")
    assert committed(git, tmp_path / "recipes/deep/new.yaml") == ["deep/new"]


def test_unknown_base_is_reported_with_the_fix(git) -> None:
    with pytest.raises(GitError, match=r"base=0000: Git cannot compare .*git fetch --unshallow"):
        changed_recipes("0000")


def test_edited_lock_is_refused(git, team) -> None:
    team("environments/staging/released/release.lock", LOCK.replace("released", "other"))
    with pytest.raises(ReleaseError, match="its seal does not match"):
        changed_recipes("main")


@pytest.mark.parametrize(
    "text", [b"name: [\n", b"recipes: [\n", b"\xff\n", b"defaults:\n- override /model: none\n"]
)
def test_unreadable_recipe_is_changed_by_its_own_file(git, tmp_path, text) -> None:
    (tmp_path / "recipes/deep/new.yaml").write_bytes(text)
    git("commit", "-qam", "Break")
    assert changed_recipes("main") == ["deep/new"]
