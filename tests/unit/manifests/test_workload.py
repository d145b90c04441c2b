from dataclasses import replace
from pathlib import Path

import pytest

from framework.core.errors import ReleaseError
from framework.core.release import Release
from framework.manifests.identity import Identity
from framework.manifests.server_signals import GITUNE
from framework.manifests.workload import Workload

RELEASE = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
VOLUMES = [
    {"configMap": {"name": "tiny"}, "name": "config"},
    {"configMap": {"name": "another"}, "name": "kept"},
    {"emptyDir": {}, "name": "tmp"},
]


def workload(volumes=VOLUMES, files=None):
    return Workload(
        identity=Identity.of(RELEASE, "prod"),
        pod={"volumes": volumes},
        files=files or {"a.json": "1", "b.txt": "2"},
        service_port=80,
        start_seconds=100,
        signals=GITUNE,
    )


def test_own_template_mounts_its_annotations():
    template = workload().own_template()
    assert template["metadata"]["annotations"]["files.gitune.dev/a.json"] == "1"
    config, kept, tmp = template["spec"]["volumes"]
    paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in config["downwardAPI"]["items"]}
    assert paths == {
        "a.json": "metadata.annotations['files.gitune.dev/a.json']",
        "b.txt": "metadata.annotations['files.gitune.dev/b.txt']",
    }
    assert [kept, tmp] == VOLUMES[1:]
    assert workload().pod["volumes"] == VOLUMES  # the target's pod is not changed


def test_volume_with_items_keeps_their_paths():
    volumes = [
        {"configMap": {"name": "tiny", "items": [{"key": "b.txt", "path": "sub/c"}]}, "name": "config"}
    ]
    (volume,) = workload(volumes).own_template()["spec"]["volumes"]
    (item,) = volume["downwardAPI"]["items"]
    assert item["path"] == "sub/c"
    assert "/b.txt'" in item["fieldRef"]["fieldPath"]


def test_files_too_large_for_annotations_are_refused():
    assert workload(files={"a": "x" * 250_000}).own_template()
    with pytest.raises(ReleaseError, match="set rollout=rolling"):
        workload(files={"a": "é" * 125_001}).own_template()


def test_progress_deadline_includes_a_new_node():
    assert replace(workload(), start_seconds=300).progress_seconds == 900
