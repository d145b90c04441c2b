"""What a server checks when it takes another release: what it checked of the first one."""

import functools
import json
import signal
from pathlib import Path

import pytest
from signing_keys import key_pair

from framework.core.approval import approve
from framework.core.bundle import signed_with_key
from framework.core.errors import ReleaseError, SourceError
from framework.core.modelstore import push
from framework.core.release import Release
from framework.core.signers import Signers
from framework.server import main
from framework.serving.http import HttpServing

TINY = Release.read(Path(__file__).parents[1] / "golden" / "tiny.lock")


@pytest.fixture
def release(tmp_path):
    """Publish a model with some weights; return its release, signed by a key."""

    def build(weights, key):
        folder = tmp_path / weights
        folder.mkdir()
        (folder / "weights.bin").write_text(weights)
        uri, digest = push(folder, f"file://{tmp_path}/store")
        sign = functools.partial(signed_with_key, private_key=key.read_bytes())
        return approve(TINY.model_copy(update={"model_uri": uri, "digest": digest}), "production", 3, sign)

    return build


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Start the server on a lock; return what it would call on SIGHUP."""

    def start(lock, public_key):
        (tmp_path / "release.lock").write_text(lock.text())
        (tmp_path / "serving.json").write_text(json.dumps(HttpServing().dump()))
        (tmp_path / "signers.json").write_text(json.dumps(Signers(keys=(public_key.read_text(),)).dump()))
        seen = []
        monkeypatch.setattr(HttpServing, "serve_renewed", lambda self, *given: seen.append(given))
        before = signal.getsignal(signal.SIGHUP)
        names = {"release": "release.lock", "config": "serving.json", "signers": "signers.json"}
        words = [word for flag, name in names.items() for word in (f"--{flag}", str(tmp_path / name))]
        try:
            assert main([*words, "--environment", "production", "--model", str(tmp_path / "model")]) == 0
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)
        ((folder, release, renewed),) = seen
        assert (folder, release) == (tmp_path / "model", lock)
        return renewed

    return start


def test_next_release_is_fetched_beside_the_first(release, served, tmp_path):
    private, public = key_pair(tmp_path, "ours")
    renewed = served(release("one", private), public)
    second = release("two", private)
    (tmp_path / "release.lock").write_text(second.text())
    taken, folder = renewed()
    assert taken == second
    assert folder == tmp_path / f"model-{second.digest.removeprefix('sha256:')[:12]}"
    assert (folder / "weights.bin").read_text() == "two"
    assert (tmp_path / "model" / "weights.bin").read_text() == "one"


def test_release_of_another_signer_or_model_is_refused(release, served, tmp_path):
    private, public = key_pair(tmp_path, "ours")
    first = release("one", private)
    renewed = served(first, public)
    theirs, _ = key_pair(tmp_path, "theirs")
    (tmp_path / "release.lock").write_text(release("two", theirs).text())
    with pytest.raises(ReleaseError, match="refused in production"):
        renewed()
    third = release("three", private)
    (tmp_path / "release.lock").write_text(third.text())
    (Path(third.model_uri.removeprefix("file://")) / "weights.bin").write_text("other")
    with pytest.raises(SourceError):
        renewed()
    assert [path.name for path in tmp_path.glob("model*")] == ["model"]
