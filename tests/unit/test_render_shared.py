"""Objects that several releases of an environment use are rendered once."""

import json
from pathlib import Path

import pytest
import yaml

from framework.core.errors import ReleaseError
from framework.gitops.release_status import release_statuses
from framework.render import changes, diff_text, write

PINNED = {"image": f"registry.example.com/server@sha256:{'5' * 64}"}
VAULT = ("external-secret", {"store": "vault"})
SECRET = "production/shared/externalsecret-api-keys.yaml"
APP = "production/shared/app.json"


@pytest.fixture
def release(render_with):
    """Render a release of production that names the Secret ``api-keys``, or another, or none."""

    def render(name, secret="api-keys", secrets=VAULT, environment="production"):
        key = {"api_key_secret": {"name": secret}} if secret else {}
        deployment = ("kubernetes", {**PINNED, **key})
        chosen = {"deployment": deployment, "secrets": secrets, "environment": environment}
        return render_with(**chosen, release={"name": name})

    return render


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*.*") if path.is_file()}


def test_shared_secret_has_one_object_that_no_release_owns(tmp_path, release):
    write(release("a"), tmp_path)
    second = write(release("b"), tmp_path)
    assert not {name for name in second.added if "shared" in name}
    assert [name for name in files(tmp_path) if "externalsecret" in name] == [SECRET]
    item = yaml.safe_load((tmp_path / SECRET).read_text())
    assert item["metadata"]["name"] == "api-keys"
    assert "app.kubernetes.io/instance" not in item["metadata"]["labels"]
    assert item["metadata"]["annotations"] == {}
    assert diff_text(release("a"), tmp_path) == diff_text(release("b"), tmp_path) == ""


def test_shared_folder_is_an_application_of_its_own(tmp_path, release):
    write(release("a"), tmp_path)
    assert json.loads((tmp_path / APP).read_text()) == {
        "environment": "production",
        "name": "shared",
        "namespace": "gitune-production",
    }
    used = json.loads((tmp_path / "production/a/app.json").read_text())["shared"]
    assert used == ["externalsecret-api-keys.yaml"]


def test_shared_object_goes_with_its_last_user(tmp_path, release):
    for name in ("a", "b"):
        write(release(name), tmp_path)
    write(release("c", secret="other"), tmp_path)
    assert SECRET not in write(release("a", secret=None), tmp_path).removed
    assert (tmp_path / SECRET).is_file()
    assert write(release("b", secret=None), tmp_path).removed == (SECRET,)
    assert (tmp_path / APP).is_file()
    last = write(release("c", secret=None), tmp_path)
    assert last.removed == (APP, "production/shared/externalsecret-other.yaml")
    assert not list((tmp_path / "production/shared").iterdir())


def test_deleted_release_uses_nothing(tmp_path, release):
    for name in ("a", "b"):
        write(release(name), tmp_path)
    for path in (tmp_path / "production/a").iterdir():
        path.unlink()
    assert SECRET in write(release("b", secret=None), tmp_path).removed


def test_object_that_depends_on_the_release_stays_with_it(tmp_path, release):
    own = ("external-secret", {"store": "vault", "remote_key": "{release}/{secret}"})
    write(release("a", secrets=own), tmp_path)
    assert {name for name in files(tmp_path) if "externalsecret" in name or "shared" in name} == {
        "production/a/externalsecret-api-keys.yaml"
    }
    with pytest.raises(ReleaseError, match=r"externalsecret-api-keys\.yaml: the release 'b' also"):
        write(release("b", secrets=own), tmp_path)


def test_release_that_still_owns_the_object_is_rendered_again_first(tmp_path, release):
    own = ("external-secret", {"store": "vault", "remote_key": "{release}/{secret}"})
    write(release("a", secrets=own), tmp_path)
    with pytest.raises(ReleaseError, match="render 'a' again"):
        write(release("b"), tmp_path)
    write(release("a"), tmp_path)
    write(release("b"), tmp_path)


def test_environments_share_nothing(tmp_path, release):
    write(release("a"), tmp_path)
    write(release("a", environment="staging"), tmp_path)
    write(release("a", secret=None), tmp_path)
    assert not (tmp_path / SECRET).exists()
    assert (tmp_path / SECRET.replace("production", "staging")).is_file()


def test_file_of_others_is_kept_and_synced(tmp_path, release):
    own = tmp_path / "production/shared/configmap-mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("kind: ConfigMap\n")
    write(release("a"), tmp_path)
    write(release("a", secret=None), tmp_path)
    assert own.is_file()
    assert (tmp_path / APP).is_file()
    Path(tmp_path / SECRET).write_text("kind: ExternalSecret\n")
    with pytest.raises(ReleaseError, match="did not write this file"):
        changes(release("a"), tmp_path)


def test_release_cannot_take_the_name_of_the_folder(release):
    with pytest.raises(ReleaseError, match="name: 'shared'"):
        release("shared")


def test_broken_file_of_another_release_is_named(tmp_path, release):
    write(release("a"), tmp_path)
    (tmp_path / "production/a/app.json").write_text("[")
    with pytest.raises(ReleaseError, match=r"a/app\.json: "):
        write(release("b"), tmp_path)


def test_status_names_what_no_release_shares(tmp_path, release, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(release("a"), tmp_path / "environments")
    assert [entry.folder for entry in release_statuses("environments", "", "")] == ["production/a"]
    for path in (tmp_path / "environments/production/a").iterdir():
        path.unlink()
    (left,) = release_statuses("environments", "", "")
    assert left.folder == "production/shared"
    assert "remove app.json, externalsecret-api-keys.yaml" in left.problem
