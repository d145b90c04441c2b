"""Rendering a release to files, and writing them to the environments folder."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framework.core.errors import PlanError, ReleaseError
from framework.core.release import Release
from framework.delivery.autoscaling.hpa import Hpa
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.environment.cluster import Cluster
from framework.delivery.monitoring.none import NoMonitoring
from framework.delivery.rollout.rolling import Rolling
from framework.delivery.secrets.none import NoSecrets
from framework.delivery.traffic.none import NoTraffic
from framework.render import HEADER, changes, diff_text, render, write
from framework.serving import Serving

REPOSITORY = Path(__file__).parents[2]
RELEASE = Release.read(REPOSITORY / "tests" / "golden" / "tiny.lock")
DEV = Cluster(name="dev", namespace="gitune-dev", allow_unpinned_image=True)


class SettingsOnly(Serving):
    """A server option; rendering only reads its settings."""

    def serve(self, model, release):
        raise AssertionError("rendering does not serve")


def rendered(environment=DEV, serving=None, **changed):
    release = RELEASE.model_copy(update=changed)
    delivery = Delivery(
        serving=serving or SettingsOnly(),
        environment=environment,
        rollout=Rolling(),
        autoscaling=Hpa(),
        traffic=NoTraffic(),
        monitoring=NoMonitoring(),
        secrets=NoSecrets(),
    )
    return render(release, Kubernetes(), delivery)


def test_files_of_a_release():
    files = rendered()
    kinds = [
        *("configmap", "deployment", "horizontalpodautoscaler", "networkpolicy", "poddisruptionbudget"),
        *("service", "serviceaccount"),
    ]
    assert list(files) == sorted(
        ["dev/tiny/app.json", "dev/tiny/release.lock", *(f"dev/tiny/{kind}-tiny.yaml" for kind in kinds)]
    )
    assert json.loads(files["dev/tiny/app.json"]) == {
        "environment": "dev",
        "name": "tiny",
        "namespace": "gitune-dev",
    }
    for name, text in files.items():
        if name.endswith(".yaml"):
            assert text.startswith(HEADER)
            assert yaml.safe_load(text)["metadata"]["namespace"] == "gitune-dev"


def test_lock_round_trips(tmp_path):
    write(rendered(), tmp_path)
    assert Release.read(tmp_path / "dev" / "tiny" / "release.lock") == RELEASE


@pytest.mark.parametrize("name", ["Tiny", "1st", "a_b", "x" * 41, "a/../../b", ""])
def test_name_that_is_not_a_dns_label_is_refused(name):
    with pytest.raises(ReleaseError, match="Kubernetes"):
        rendered(name=name)


def test_unpinned_image_is_refused_outside_dev():
    with pytest.raises(PlanError, match=r"deployment\.image=.*@sha256:"):
        rendered(Cluster(name="production", namespace="x"))


def test_second_write_touches_nothing(tmp_path):
    first = write(rendered(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = write(rendered(), tmp_path)
    assert (len(first.added), first.changed, first.removed) == (9, (), ())
    assert not second
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_only_changed_files_are_written_and_shown(tmp_path):
    write(rendered(), tmp_path)
    service = tmp_path / "dev" / "tiny" / "service-tiny.yaml"
    before = service.stat().st_ino
    files = rendered(serving=SettingsOnly(max_new_tokens=7))
    expected = ("dev/tiny/configmap-tiny.yaml", "dev/tiny/deployment-tiny.yaml")
    assert changes(files, tmp_path).changed == expected
    difference = diff_text(files, tmp_path)
    assert '\n+      "max_new_tokens": 7' in difference
    assert write(files, tmp_path).changed == expected
    assert service.stat().st_ino == before
    assert diff_text(files, tmp_path) == ""


def test_only_stale_objects_are_removed(tmp_path):
    write(rendered(), tmp_path)
    write(rendered(name="other"), tmp_path)
    folder = tmp_path / "dev" / "tiny"
    (folder / "job-tiny.yaml").write_text(HEADER + "kind: Job\n")
    (folder / "secret-mine.yaml").write_text("kind: SealedSecret\n")
    (folder / "notes.md").write_text("mine")
    (folder / "patches").mkdir()
    files = rendered()
    assert diff_text(files, tmp_path).startswith("--- a/dev/tiny/job-tiny.yaml\n+++ /dev/null\n")
    differences = write(files, tmp_path)
    assert differences.removed == ("dev/tiny/job-tiny.yaml",)
    assert differences.foreign == ("dev/tiny/notes.md", "dev/tiny/patches", "dev/tiny/secret-mine.yaml")
    assert not (folder / "job-tiny.yaml").exists()
    assert (folder / "secret-mine.yaml").exists()
    assert len(list((tmp_path / "dev" / "other").iterdir())) == 9


@pytest.mark.parametrize("first", [0, 1])
def test_releases_that_share_an_object_name_are_refused(tmp_path, first, render_with, measured):
    judged = {"rollout": "blue-green", "monitoring": measured, "environment": "production"}
    pinned = ("kubernetes", {"image": f"registry.example.com/server@sha256:{'5' * 64}"})
    names = ("tiny", "tiny-preview")
    texts = [render_with(**judged, deployment=pinned, release={"name": name}) for name in names]
    write(texts[first], tmp_path)
    write(render_with(**judged, deployment=pinned, release={"name": "tiny-chat"}), tmp_path)
    with pytest.raises(ReleaseError, match=r"analysistemplate-tiny-preview\.yaml: .*tiny"):
        write(texts[1 - first], tmp_path)
    assert not (tmp_path / "production" / names[1 - first]).exists()


def test_changes_writes_nothing(tmp_path):
    assert len(changes(rendered(), tmp_path / "none").added) == 9
    assert diff_text(rendered(), tmp_path / "none").startswith("--- /dev/null\n+++ b/dev/tiny/app.json\n")
    assert not (tmp_path / "none").exists()


def test_foreign_file_with_rendered_name_is_not_overwritten(tmp_path):
    own = tmp_path / "dev" / "tiny" / "service-tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("kind: Service\n")
    with pytest.raises(ReleaseError, match=r"service-tiny\.yaml: "):
        write(rendered(), tmp_path)
    assert [path.name for path in own.parent.iterdir()] == ["service-tiny.yaml"]


def test_edited_object_and_windows_line_endings_are_fixed(tmp_path):
    write(rendered(), tmp_path)
    service = tmp_path / "dev" / "tiny" / "service-tiny.yaml"
    good = service.read_bytes()
    service.write_bytes(good.replace(b"port: 80\n", b"port: 80\r\n"))
    assert write(rendered(), tmp_path).changed == ("dev/tiny/service-tiny.yaml",)
    assert service.read_bytes() == good


def test_folder_that_links_out_of_the_root_is_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "job-x.yaml").write_text(HEADER)
    (tmp_path / "environments" / "dev").mkdir(parents=True)
    (tmp_path / "environments" / "dev" / "tiny").symlink_to(outside)
    with pytest.raises(ReleaseError, match="tiny"):
        write(rendered(), tmp_path / "environments")
    assert [path.name for path in outside.iterdir()] == ["job-x.yaml"]


def test_write_error_is_one_sentence(tmp_path):
    (tmp_path / "dev").write_text("a file in place of a folder")
    with pytest.raises(ReleaseError, match="dev") as caught:
        write(rendered(), tmp_path)
    assert "\n" not in str(caught.value)


def test_files_are_readable_by_everyone(tmp_path):
    write(rendered(), tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dev" / "tiny").iterdir()}
    assert modes == {0o644}


def test_rendering_needs_no_heavy_library():
    modules = (
        "framework.render, framework.delivery.deployment.kubernetes, framework.delivery.environment.cluster"
    )
    code = f"import sys, {modules}; print(sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "yaml" in loaded
    for library in ("torch", "numpy", "transformers", "lightning", "onnx", "uvicorn", "fsspec", "hydra"):
        assert f"'{library}'" not in loaded
