"""The server's command line as a pod's init container runs it, on signed locks and on tampered ones."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from signing_keys import key_pair

from framework.core.approval import approve
from framework.core.bundle import signed_with_key
from framework.core.modelstore import push
from framework.core.release import Release
from framework.core.signers import Signers
from framework.delivery.deployment.approved_pod import COMMAND
from framework.gitops.admission import admission
from framework.gitops.argocd import environments
from framework.server import main

TINY = Release.read(Path(__file__).parents[1] / "golden" / "tiny.lock")
PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
ZERO = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("approved")


@pytest.fixture(scope="module")
def keys(root):
    return {name: key_pair(root, name) for name in ("ours", "theirs")}


@pytest.fixture(scope="module")
def environment(keys):
    (production,) = (place for place in environments() if place.name == "production")
    return production.model_copy(update={"signers": Signers(keys=(keys["ours"][1].read_text(),))})


@pytest.fixture(scope="module")
def released(root):
    """A release whose model is in a store."""
    folder = root / "built"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    uri, digest = push(folder, f"file://{root}/store")
    return TINY.model_copy(update={"model_uri": uri, "digest": digest})


def signed(release, keys, *, by="ours", place="production", number=3):
    sign = functools.partial(signed_with_key, private_key=keys[by][0].read_bytes())
    return approve(release, place, number, sign)


def changed(release, **fields):
    """Return the lock with other fields and a seal that matches them, as anybody can write it."""
    return Release.parse(release.model_copy(update=fields).text(), "release.lock")


@pytest.fixture
def start(tmp_path, render_with, environment):
    """Write what the pod of a lock mounts; return the arguments of its init container.

    Args of the function:
        lock: the release's folder was rendered for it.
        mounted: the lock that its pods carry instead.
    """

    def arguments(lock, mounted=None):
        files = render_with(
            deployment=("kubernetes", {"image": PINNED}), environment=environment, release=dict(lock)
        )
        items = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
        objects = {item["kind"]: item for item in items}
        (signers, *_) = admission(environment, "policy", "argocd", "https://git.example.com/x.git", "main")
        template = objects["Deployment"]["spec"]["template"]
        pod = template["spec"]
        (init,) = pod["initContainers"]
        assert init["command"] == list(COMMAND)
        carried = template["metadata"]["annotations"].items()
        config = {key.partition("/")[2]: text for key, text in carried if key.startswith("files.")}
        given = {"config": config or objects["ConfigMap"]["data"], "signers": signers["data"]}
        if mounted is not None:
            given["config"]["release.lock"] = mounted.text()
        for mount in init["volumeMounts"]:
            place = tmp_path / mount["name"]
            place.mkdir()
            for name, text in given.get(mount["name"], {}).items():
                (place / name).write_text(text)
        folders = {mount["mountPath"]: tmp_path / mount["name"] for mount in init["volumeMounts"]}
        values = {}
        for variable in init["env"]:
            if "valueFrom" in variable:
                annotation = variable["valueFrom"]["fieldRef"]["fieldPath"].split("'")[1]
                value = template["metadata"]["annotations"].get(annotation, "")
                values[f"$({variable['name']})"] = value

        def argument(word):
            folder, _, name = word.rpartition("/")
            return f"{folders[folder]}/{name}" if folder in folders else values.get(word, word)

        return [argument(word) for word in init["args"]]

    return arguments


def refused(capsys, words):
    """Return the line on stderr of a refused start."""
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_signed_release_is_fetched(start, released, keys, tmp_path):
    words = start(signed(released, keys))
    # Without -I, so that the tested code is that of this folder.
    done = subprocess.run([sys.executable, *COMMAND[2:], *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "model" / "model" / "weights.bin").read_bytes() == b"weights"


CASES = {
    "metric": (lambda lock: changed(lock, metrics={"tuned.exact_match": 0.99}), "a metric"),
    "model": (lambda lock: changed(lock, digest=ZERO), "its model has another digest"),
    "data": (lambda lock: changed(lock, data_digest=ZERO), "the lock's content was changed"),
    "unsigned": (lambda lock: changed(lock, approval=None), "it is not signed"),
}


@pytest.mark.parametrize("name", CASES)
def test_tampered_folder_is_refused_before_anything_is_fetched(start, released, keys, capsys, tmp_path, name):
    change, reason = CASES[name]
    error = refused(capsys, start(change(signed(released, keys))))
    assert f"{tmp_path}/config/release.lock: refused in production: " in error
    assert reason in error
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [({"by": "theirs"}, "accepted is key"), ({"place": "staging"}, "for staging, not for production")],
)
def test_foreign_signature_and_other_environment_are_refused(start, released, keys, capsys, how, reason):
    assert reason in refused(capsys, start(signed(released, keys, **how)))


def test_earlier_lock_that_was_put_back_is_refused(start, released, keys, capsys):
    earlier, now = (signed(released, keys, number=number) for number in (3, 4))
    error = refused(capsys, start(now, mounted=earlier))
    assert "its approval is 3, but the pod's is 4" in error


def test_pod_that_names_another_model_is_refused(start, released, keys, capsys):
    words = start(signed(released, keys))
    words[words.index(released.digest)] = ZERO
    assert f"its digest is {released.digest}, but the pod's is {ZERO}" in refused(capsys, words)


def test_changed_bytes_of_a_signed_model_are_refused(start, keys, root, capsys):
    folder = root / "changed"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights!")
    uri, digest = push(folder, f"file://{root}/other")
    Path(uri.removeprefix("file://"), "weights.bin").write_bytes(b"Weights!")
    release = TINY.model_copy(update={"model_uri": uri, "digest": digest})
    assert "weights.bin" in refused(capsys, start(signed(release, keys)))


def test_lock_that_is_missing_or_edited_is_refused(start, released, keys, capsys, tmp_path):
    words = start(signed(released, keys))
    lock = tmp_path / "config" / "release.lock"
    lock.write_text(lock.read_text().replace('"recipe": "', '"recipe": "x'))
    assert "edited" in refused(capsys, words)
    lock.unlink()
    assert "no release" in refused(capsys, words)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no such file"),
        (json.dumps(Signers().dump()), "no signer"),
        ('{"keys": ["x"]}', "keys.0"),
    ],
)
def test_without_signers_nothing_starts(start, released, keys, capsys, tmp_path, text, reason):
    words = start(signed(released, keys))
    file = tmp_path / "signers" / "signers.json"
    file.unlink() if text is None else file.write_text(text)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "run argocd" in error
