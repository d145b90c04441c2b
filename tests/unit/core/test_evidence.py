"""Evidence beside a model: written once, for each lock, and outside of the model's digest."""

from pathlib import Path

import fsspec
import pytest

from framework.core import evidence
from framework.core.modelstore import pull, push
from framework.core.release import Release

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")


@pytest.fixture(params=["file", "memory"])
def release(request, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_text("weights")
    url = f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}/store"
    uri, digest = push(tmp_path / "model", url)
    yield TINY.model_copy(update={"model_uri": uri, "digest": digest})
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def test_evidence_is_kept_as_first_written(release, tmp_path):
    folder = evidence.address(release)
    assert evidence.find(folder, "a") is None
    assert evidence.keep(folder, {"a": "one"}) == ["a"]
    assert evidence.keep(folder, {"a": "two", "b": b"\x00"}) == ["b"]
    assert (evidence.find(folder, "a"), evidence.find(folder, "b")) == (b"one", b"\x00")
    pull(release.model_uri, release.digest, tmp_path / "pulled")
    assert [path.name for path in (tmp_path / "pulled").iterdir()] == ["weights.bin"]


def test_each_lock_of_a_model_has_its_own_evidence(release):
    other = release.model_copy(update={"commit": "f" * 40})
    evidence.keep(evidence.address(release), {"a": "one"})
    evidence.keep(evidence.address(other), {"a": "two"})
    assert evidence.find(evidence.address(release), "a") == b"one"
    assert evidence.find(evidence.address(other), "a") == b"two"
