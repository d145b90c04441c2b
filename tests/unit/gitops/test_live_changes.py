"""What a cluster's object may differ in: changes by hand are reported, those of controllers are not."""

import pytest
import yaml
from api_server import applied, changed
from live_changes import EDIT, GOLDEN, QUIET, SET, UNSET, put, read

from framework.gitops.drift import drift
from framework.gitops.managed_fields import KINDS


def ids(table):
    return [row[0] for row in table]


@pytest.mark.parametrize(("name", "file", "manager", "change", "path"), UNSET + SET, ids=ids(UNSET + SET))
def test_change_by_hand_is_reported_with_its_path_and_manager(name, file, manager, change, path):
    git = read(file)
    live = changed(applied(git), manager, change)
    differences = {each.path: each for each in drift(git, live)}
    assert path in differences
    # What is gone has no owner.
    assert differences[path].managers == (() if name.endswith("removed") else (manager,))
    assert [*differences] == [path] or name in ("command", "step removed")  # compared by place


@pytest.mark.parametrize(("name", "file", "manager", "change", "part"), QUIET, ids=ids(QUIET))
def test_fields_of_controllers_are_not_drift(name, file, manager, change, part):
    git = read(file)
    live = changed(applied(git), manager, change, part)
    assert drift(git, live) == []
    changed(live, EDIT, put("metadata labels x", "y"))
    assert [each.path for each in drift(git, live)] == ["metadata.labels.x"]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*/*/*.yaml")), ids=lambda file: file.stem)
def test_applied_manifests_are_as_in_git(file):
    git = yaml.safe_load(file.read_text())
    if "kind" in git:
        assert drift(git, applied(git)) == []
        assert KINDS[git["kind"]].version == git["apiVersion"]
