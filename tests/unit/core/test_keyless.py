"""Keyless approvals: Sigstore's own client signs at a private instance and judges what it signed."""

import base64
import functools
from pathlib import Path

import pytest
from signing_keys import key_pair
from sigstore_instance import GITHUB, Instance, token

from framework.core.approval import approve, check_approval
from framework.core.errors import ReleaseError
from framework.core.keyless import signed_keyless
from framework.core.release import Release
from framework.core.sign_statement import signer
from framework.core.signers import Identity, Signers

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
WORKFLOW = "gitune/gitune/.github/workflows/promote.yaml@refs/heads/main"
SUBJECT = f"https://github.com/{WORKFLOW}"


@pytest.fixture(scope="module")
def instance():
    running = Instance()
    yield running
    running.close()


def accepting(instance, subject=SUBJECT, issuer=GITHUB):
    return Signers(identities=(Identity(issuer=issuer, subject=subject),), trust_config=instance.trust_config)


def approved(instance, workflow=WORKFLOW, issuer=GITHUB):
    sign = functools.partial(
        signed_keyless, token=token(workflow, issuer), trust_config=instance.trust_config
    )
    return approve(TINY, "staging", 1, sign)


@pytest.fixture(scope="module")
def signed(instance):
    return approved(instance)


def test_identity_approves_a_lock_and_survives_the_file(instance, signed, tmp_path):
    (tmp_path / "release.lock").write_text(signed.text())
    read = Release.read(tmp_path / "release.lock")
    assert check_approval(read, "staging", accepting(instance)).signer == SUBJECT


@pytest.mark.parametrize(
    ("subject", "issuer"),
    [
        (SUBJECT.replace("main", "other"), GITHUB),
        (SUBJECT.replace("promote", "evil"), GITHUB),
        (SUBJECT, "https://gitlab.com"),
    ],
)
def test_another_subject_or_issuer_is_refused_and_named(subject, issuer, instance, signed):
    with pytest.raises(ReleaseError) as caught:
        check_approval(signed, "staging", accepting(instance, subject, issuer))
    assert f"{SUBJECT} (issuer {GITHUB})" in str(caught.value)
    assert f"{subject} (issuer {issuer})" in str(caught.value)


def test_token_of_another_issuer_is_refused(instance):
    with pytest.raises(ReleaseError, match=r"issuer https://evil\.example"):
        check_approval(approved(instance, issuer="https://evil.example"), "staging", accepting(instance))


def test_authority_that_is_not_trusted_is_refused(instance):
    foreign = Instance()
    try:
        signed = approved(foreign)
    finally:
        foreign.close()
    assert check_approval(signed, "staging", accepting(foreign)).signer == SUBJECT
    for trusted in (accepting(instance), Signers(identities=accepting(instance).identities)):
        with pytest.raises(ReleaseError, match="not valid"):  # the second trusts the public instance
            check_approval(signed, "staging", trusted)


def test_signature_after_the_certificate_expired_is_refused(instance):
    instance.late = 3600
    try:
        signed = approved(instance)
    finally:
        instance.late = 0
    with pytest.raises(ReleaseError, match="not valid"):
        check_approval(signed, "staging", accepting(instance))


@pytest.mark.parametrize("field", ["integratedTime", "logIndex"])
def test_entry_of_the_log_cannot_be_changed(field, instance, signed):
    material = signed.approval["verificationMaterial"]
    entry = {**material["tlogEntries"][0], field: str(int(material["tlogEntries"][0][field]) + 1)}
    forged = {**signed.approval, "verificationMaterial": {**material, "tlogEntries": [entry]}}
    with pytest.raises(ReleaseError, match="not valid"):
        check_approval(signed.model_copy(update={"approval": forged}), "staging", accepting(instance))


def test_changed_lock_and_changed_statement_are_refused(instance, signed):
    metric = signed.model_copy(update={"metrics": {"tuned.exact_match": 0.99}})
    with pytest.raises(ReleaseError, match="metric"):
        check_approval(metric, "staging", accepting(instance))
    other = approve(TINY, "staging", 9, lambda statement: _with_payload(signed.approval, statement))
    with pytest.raises(ReleaseError, match="not valid"):
        check_approval(other, "staging", accepting(instance))


def _with_payload(bundle, statement):
    envelope = {**bundle["dsseEnvelope"], "payload": base64.b64encode(statement).decode()}
    return {**bundle, "dsseEnvelope": envelope}


def test_keys_alone_refuse_an_identity_and_the_other_way_round(instance, signed, tmp_path, monkeypatch):
    private, public = key_pair(tmp_path, "ours")
    monkeypatch.delenv("GITUNE_SIGNING_KEY", raising=False)
    with pytest.raises(ReleaseError, match=r"promote\.yaml"):
        check_approval(signed, "staging", Signers(keys=(public.read_text(),)))
    by_key = approve(TINY, "staging", 1, signer(str(private), Signers()))
    with pytest.raises(ReleaseError, match=r"accepted is https://github\.com"):
        check_approval(by_key, "staging", accepting(instance))


def test_key_comes_before_the_identity_of_the_job(instance, tmp_path, monkeypatch):
    private, public = key_pair(tmp_path, "ours")
    instance.be_github(monkeypatch, WORKFLOW)
    assert signer(None, Signers()) is None
    both = accepting(instance).model_copy(update={"keys": (public.read_text(),)})
    assert check_approval(approve(TINY, "dev", 1, signer("", both)), "dev", both).signer == SUBJECT
    monkeypatch.setenv("GITUNE_SIGNING_KEY", private.read_text())
    assert check_approval(approve(TINY, "dev", 1, signer("", both)), "dev", both).signer.startswith("key ")
    with pytest.raises(ReleaseError, match="accepted is"):  # before a lock is written with it
        approve(TINY, "dev", 1, signer("", accepting(instance)))


def test_job_without_a_token_is_told_which_permission_it_lacks(instance, monkeypatch):
    for name in ("GITUNE_SIGNING_KEY", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(ReleaseError, match="id-token: write"):
        signer(None, accepting(instance))
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert signer(None, accepting(instance)) is None


def test_trust_config_that_is_none_is_named(signed):
    wrong = Signers(
        identities=(Identity(issuer=GITHUB, subject=SUBJECT),), trust_config={"mediaType": "other"}
    )
    with pytest.raises(ReleaseError, match=r"environment\.signers\.trust_config"):
        check_approval(signed, "staging", wrong)
