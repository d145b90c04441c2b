"""Approvals: signatures that admit a release to one environment.

An approval is a Sigstore bundle in the lock's field ``approval``. Its in-toto statement has the lock, by its
seal, and the model, by its digest, as subjects, and names the release, the environment and a number. Each
approval of a release in an environment has a higher number than those before it, so an old lock that was
once signed cannot be put back without a new signature.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from framework.core.bundle import checked_statement, claimed_signer, statement_of
from framework.core.errors import ReleaseError
from framework.core.release import LOCK, Release
from framework.core.signers import Signers

PREDICATE_TYPE = "https://gitune.github.io/gitune/evidence/#approval"
_STATEMENT = "https://in-toto.io/Statement/v1"

Sign = Callable[[bytes], dict[str, Any]]
"""Returns a Sigstore bundle of a statement."""


@dataclass(frozen=True)
class Approval:
    """A checked signature of a lock."""

    environment: str
    """The environment that it admits the release to."""
    number: int
    """Its place among the approvals of this release in this environment, from 1."""
    signer: str
    """Who signed, such as ``key 0123456789ab``."""


def approve(release: Release, environment: str, number: int, sign: Sign) -> Release:
    """Return *release* with an approval for *environment* in place of the one that it has.

    Args:
        release: a release.
        environment: the environment's name.
        number: above that of every earlier approval of this release there.
        sign: signs the statement.

    Raises:
        ReleaseError: it cannot be signed.
    """
    return release.model_copy(update={"approval": sign(_statement(release, environment, number))})


def check_approval(release: Release, environment: str, signers: Signers) -> Approval:
    """Return the approval of *release* for *environment*, by one of *signers*.

    Raises:
        ReleaseError: there is none; or it is not valid, by others, or of another lock or environment.
    """
    approval = signed_approval(release, signers)
    if approval.environment != environment:
        raise ReleaseError(f"{approval.signer} signed it for {approval.environment}, not for {environment}")
    return approval


def signed_approval(release: Release, signers: Signers) -> Approval:
    """Return the approval of *release* by one of *signers*, for whichever environment it is.

    Raises:
        ReleaseError: there is none; or it is not valid, by others, or of another lock.
    """
    if release.approval is None:
        raise ReleaseError("it is not signed")
    statement, signer = checked_statement(release.approval, signers)
    try:
        approval = _approval(statement, signer)
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"what {signer} signed is no approval ({error!r})") from None
    if statement != _statement(release, approval.environment, approval.number):
        raise ReleaseError(f"{signer} signed another lock: {_difference(release, json.loads(statement))}")
    return approval


def claimed_approval(release: Release) -> Approval | None:
    """Return the approval that the lock has, as it says, which nothing checks; None if it has none."""
    if release.approval is None:
        return None
    try:
        return _approval(statement_of(release.approval), claimed_signer(release.approval))
    except (ReleaseError, ValueError, KeyError, TypeError):
        return None


def claimed_number(approval: Any) -> int:
    """Return the number in a lock's field ``approval``, whose signature is not checked; 0 without one."""
    try:
        return max(int(json.loads(statement_of(approval))["predicate"]["number"]), 0)
    except (ReleaseError, ValueError, KeyError, TypeError):
        return 0


def _approval(statement: bytes, signer: str) -> Approval:
    predicate = json.loads(statement)["predicate"]
    return Approval(str(predicate["environment"]), int(predicate["number"]), signer)


def _statement(release: Release, environment: str, number: int) -> bytes:
    statement = {
        "_type": _STATEMENT,
        "predicate": {"environment": environment, "number": number, "release": release.name},
        "predicateType": PREDICATE_TYPE,
        "subject": [_subject(LOCK, release.seal), _subject("model", release.digest)],
    }
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def _subject(name: str, digest: str) -> dict[str, Any]:
    return {"digest": {"sha256": digest.removeprefix("sha256:")}, "name": name}


def _difference(release: Release, signed: Any) -> str:
    """Return how the *signed* statement differs from that of *release*, for people."""
    name = signed["predicate"].get("release")
    if name != release.name:
        return f"that of {name}"
    if _subject("model", release.digest) not in signed.get("subject", ()):
        return "its model has another digest"
    return "the lock's content was changed since, a metric for example"
