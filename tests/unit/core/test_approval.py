"""Approvals of locks: who signed what, for which environment."""

import base64
import functools
import json
import subprocess
from pathlib import Path

import pytest
from signing_keys import key_pair

from framework.core.approval import approve, check_approval, claimed_number
from framework.core.bundle import signed_with_key
from framework.core.errors import ReleaseError
from framework.core.release import Release
from framework.core.signers import Signers

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("ours", "theirs")}


def by(keys, name):
    return functools.partial(signed_with_key, private_key=keys[name][0].read_bytes())


def accepting(keys, *names):
    return Signers(keys=tuple(keys[name][1].read_text() for name in names))


def test_approval_survives_the_file_and_leaves_the_seal(keys, tmp_path):
    signed = approve(TINY, "staging", 3, by(keys, "ours"))
    (tmp_path / "release.lock").write_text(signed.text())
    read = Release.read(tmp_path / "release.lock")
    assert read.seal == TINY.seal
    approval = check_approval(read, "staging", accepting(keys, "theirs", "ours"))
    assert (approval.environment, approval.number, claimed_number(read.approval)) == ("staging", 3, 3)
    assert approve(read, "staging", 4, by(keys, "ours")).seal == TINY.seal
    assert read.served() == read


def test_openssl_verifies_the_envelope_without_us(keys, tmp_path):
    envelope = approve(TINY, "staging", 1, by(keys, "ours")).approval["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    (tmp_path / "message").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "dgst", "-sha256", "-verify", keys["ours"][1], "-signature", tmp_path / "sig"]
    assert subprocess.run([*map(str, words), str(tmp_path / "message")], capture_output=True).returncode == 0
    subjects = {item["name"]: item["digest"]["sha256"] for item in json.loads(payload)["subject"]}
    assert subjects == {"release.lock": TINY.seal[7:], "model": TINY.digest[7:]}


def tampered(release, **fields):
    """Return the lock as an attacker writes it: other fields, a seal made again, the old signature."""
    return Release.parse(release.model_copy(update=fields).text(), "release.lock")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lock: tampered(lock, metrics={"tuned.exact_match": 0.99}), "metric"),
        (lambda lock: tampered(lock, digest=f"sha256:{'0' * 64}"), "model"),
        (lambda lock: tampered(lock, data_digest=f"sha256:{'0' * 64}"), "changed"),
        (lambda lock: tampered(lock, name="other"), "that of tiny"),
        (lambda lock: tampered(lock, approval=None), "not signed"),
        (lambda lock: tampered(lock, approval={"mediaType": "none"}), "no Sigstore bundle"),
    ],
    ids=["metric", "model", "data", "name", "unsigned", "no bundle"],
)
def test_what_was_changed_after_the_signature_is_refused(keys, change, reason):
    signed = change(approve(TINY, "staging", 1, by(keys, "ours")))
    with pytest.raises(ReleaseError, match=reason):
        check_approval(signed, "staging", accepting(keys, "ours"))


def test_another_signer_environment_or_number_is_refused(keys):
    signed = approve(TINY, "dev", 1, by(keys, "ours"))
    with pytest.raises(ReleaseError, match="for dev, not for production"):
        check_approval(signed, "production", accepting(keys, "ours"))
    with pytest.raises(ReleaseError, match="accepted is key"):
        check_approval(signed, "dev", accepting(keys, "theirs"))
    envelope = signed.approval["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"]).replace(b'"number":1', b'"number":9')
    forged = {**signed.approval, "dsseEnvelope": {**envelope, "payload": base64.b64encode(payload).decode()}}
    with pytest.raises(ReleaseError, match="changed after"):
        check_approval(tampered(signed, approval=forged), "dev", accepting(keys, "ours"))


def test_something_else_that_the_key_signed_is_no_approval(keys):
    bundle = by(keys, "ours")(b'{"predicate": {}}')
    with pytest.raises(ReleaseError, match="no approval"):
        check_approval(TINY.model_copy(update={"approval": bundle}), "dev", accepting(keys, "ours"))
