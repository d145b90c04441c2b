"""Signatures of published folders, judged by the upstream command line."""

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import signing_keys
from sigstore_instance import GITHUB, Instance, token

from framework.build.stages.publish import Sign
from framework.core import evidence
from framework.core.errors import ConfigError, ReleaseError, SourceError
from framework.core.key_pair import key_id, load_private
from framework.core.modelstore import pull, push
from framework.core.release import Release
from framework.core.signers import Identity, Signers
from framework.core.signing import check_signature, keep_keyless_signature, keep_signature, signers

pytest.importorskip("OpenSSL", reason="model-signing needs pyopenssl: the extra 'sign'")
TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")


def key_pair(folder, name):
    private, public = signing_keys.key_pair(folder, name)
    return private.read_bytes(), public


def by(public):
    return Signers(keys=(public.read_text(),))


@pytest.fixture(params=["file", "memory"])
def release(request, tmp_path):
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    (tmp_path / "model" / "onnx" / "weights.bin").write_bytes(b"weights")
    (tmp_path / "model" / "config.json").write_text("{}")
    url = f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}/store"
    uri, digest = push(tmp_path / "model", url)
    yield TINY.model_copy(update={"model_uri": uri, "digest": digest})
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def upstream(folder, bundle, *words):
    words = ["verify", *words, "--signature", bundle, folder]
    main = "from model_signing._cli import main; main()"
    return subprocess.run([sys.executable, "-c", main, *map(str, words)], capture_output=True, text=True)


def saved_bundle(release, tmp_path):
    folder = evidence.model_address(release)
    (name,) = [name for name in evidence.names(folder) if name.endswith(".sig")]
    (tmp_path / "bundle.sig").write_bytes(evidence.find(folder, name))
    return tmp_path / "bundle.sig"


def test_upstream_verifies_the_folder_and_finds_a_changed_file(release, tmp_path):
    private, public = key_pair(tmp_path, "ours")
    keep_signature(release, private)
    bundle = saved_bundle(release, tmp_path)
    copy = tmp_path / "copy"
    pull(release.model_uri, release.digest, copy)
    done = upstream(copy, bundle, "key", "--public_key", public)
    assert done.returncode == 0, done.stderr
    if release.model_uri.startswith("file"):  # with its list
        stored = release.model_uri.removeprefix("file://")
        assert upstream(stored, bundle, "key", "--public_key", public).returncode == 0
    (copy / "onnx" / "weights.bin").write_bytes(b"weightz")
    assert upstream(copy, bundle, "key", "--public_key", public).returncode != 0


def test_signature_counts_for_its_key_alone(release, tmp_path):
    (ours, our_public), (_, their_public) = (key_pair(tmp_path, name) for name in ("ours", "theirs"))
    assert signers(release) == []
    keep_signature(release, ours)
    before = saved_bundle(release, tmp_path).read_bytes()
    keep_signature(release, ours)
    assert saved_bundle(release, tmp_path).read_bytes() == before
    assert signers(release) == [f"key {key_id(load_private(ours).public_key())[:12]}"]
    assert check_signature(release, by(our_public)) == signers(release)[0]
    with pytest.raises(ReleaseError, match="not signed by"):
        check_signature(release, by(their_public))


def test_signature_by_another_key_under_our_name_is_refused(release, tmp_path):
    (ours, our_public), (theirs, _) = (key_pair(tmp_path, name) for name in ("ours", "theirs"))
    keep_signature(release, theirs)
    folder, foreign = evidence.model_address(release), saved_bundle(release, tmp_path).read_bytes()
    evidence.keep(folder, {f"model.{key_id(load_private(ours).public_key())[:12]}.sig": foreign})
    with pytest.raises(ReleaseError, match="not valid"):
        check_signature(release, by(our_public))


def test_signature_of_another_model_is_refused(release, tmp_path):
    private, public = key_pair(tmp_path, "ours")
    (tmp_path / "model" / "config.json").write_text('{"other": 1}')
    uri, digest = push(tmp_path / "model", release.model_uri.rpartition("/")[0])
    other = release.model_copy(update={"model_uri": uri, "digest": digest})
    keep_signature(other, private)
    name = f"model.{key_id(load_private(private).public_key())[:12]}.sig"
    evidence.keep(evidence.model_address(release), {name: saved_bundle(other, tmp_path).read_bytes()})
    with pytest.raises(ReleaseError):
        check_signature(release, by(public))


def test_changed_model_is_refused(release, tmp_path):
    private, public = key_pair(tmp_path, "ours")
    keep_signature(release, private)
    store, root = fsspec.core.url_to_fs(release.model_uri)
    store.pipe_file(f"{root}/config.json", b"[]")
    with pytest.raises((ReleaseError, SourceError)):
        check_signature(release, by(public))


def test_key_that_cannot_sign_is_named_before_anything_is_signed(release, tmp_path):
    subprocess.run(
        ["openssl", "genrsa", "-out", tmp_path / "rsa.pem", "2048"], check=True, capture_output=True
    )
    for key in (b"no key", (tmp_path / "rsa.pem").read_bytes()):
        with pytest.raises(ReleaseError, match="private key"):
            keep_signature(release, key)
    assert signers(release) == []


def test_key_is_a_file_or_the_text_of_a_variable(config, tmp_path, monkeypatch):
    monkeypatch.setenv("GITUNE_SIGNING_KEY", "pem")
    assert config("+recipe=tiny").publish.sign is None
    assert config("+recipe=tiny", "publish.sign={}").publish.sign.private_key() == b"pem"
    (tmp_path / "key.pem").write_text("other")
    assert (
        config("+recipe=tiny", f"publish.sign.key={tmp_path}/key.pem").publish.sign.private_key() == b"other"
    )
    for without in (Sign(key=str(tmp_path / "none.pem")), Sign(variable="NOT_SET")):
        with pytest.raises(ReleaseError):
            without.private_key()


def test_identity_of_the_job_signs_and_upstream_verifies(release, tmp_path):
    workflow = "a/b/.github/workflows/train.yaml@refs/heads/main"
    instance = Instance()
    try:
        keep_keyless_signature(release, token(workflow), instance.trust_config)
        kept = saved_bundle(release, tmp_path)
        before = kept.read_bytes()
        keep_keyless_signature(release, token(workflow), instance.trust_config)
        assert saved_bundle(release, tmp_path).read_bytes() == before
    finally:
        instance.close()
    identity = Identity(issuer=GITHUB, subject=f"https://github.com/{workflow}")
    assert signers(release) == [str(identity)]
    accepted = Signers(identities=(identity,), trust_config=instance.trust_config)
    assert check_signature(release, accepted) == identity.subject
    other = Identity(issuer=GITHUB, subject=identity.subject.replace("main", "other"))
    with pytest.raises(ReleaseError, match="not signed by"):
        check_signature(release, accepted.model_copy(update={"identities": (other,)}))
    if release.model_uri.startswith("file"):
        (tmp_path / "trust.json").write_text(json.dumps(instance.trust_config))
        words = ["sigstore", "--identity", identity.subject, "--identity_provider", identity.issuer]
        words += ["--trust_config", tmp_path / "trust.json"]
        done = upstream(release.model_uri.removeprefix("file://"), kept, *words)
        assert done.returncode == 0, done.stderr


def test_keyless_signing_is_refused_outside_of_a_job_and_beside_a_key(config, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    sign = config("+recipe=tiny", "publish.sign.keyless=true").publish.sign
    with pytest.raises(ReleaseError, match="no CI job"):
        sign.check()
    with pytest.raises(ConfigError, match="both set"):
        config("+recipe=tiny", "publish.sign={keyless: true, key: a}")
