"""Check a release's folder, or a published model's, with nothing but the folder and what the caller trusts.

No Git, no recipe and no config are read. A release's folder has ``release.lock``; any other folder is taken
as a published model or a copy of one.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from framework.core import evidence
from framework.core.approval import claimed_approval, signed_approval
from framework.core.bundle import claimed_signer
from framework.core.errors import ReleaseError, SourceError
from framework.core.modelstore import LIST, listed_files, read_files
from framework.core.release import LOCK, Release, built_from, short_key
from framework.core.signers import Signers
from framework.core.signing import differences, model_signatures, signed_files
from framework.gitops.findings import Finding
from framework.report.evidence import contradictions

_HEX = re.compile(r"[0-9a-f]{64}")
_TRUST = "give key=<public key>, or identity= and issuer="


@dataclass(frozen=True)
class Folder:
    """What is checked, and whom the caller trusts."""

    address: str
    """A path or URL."""
    accepted: Signers
    environment: str = ""
    """The environment that a release must be approved for; empty takes any."""
    model: str = ""
    """Where the model of a release is; empty is where its lock says."""
    signature: str = ""
    """The file of the model's signature; empty looks where a model store keeps it."""


def whole_address(given: str) -> str:
    """Return a URL as it is, and a path without links and dots, so that it ends with the folder's name."""
    if not given or "://" in given:
        return given.rstrip("/")
    return str(Path(given).expanduser().resolve())


def findings(folder: Folder) -> Iterator[Finding]:
    """Yield what is proved and what is not.

    Raises:
        FrameworkError: the folder cannot be read.
    """
    text = evidence.find(folder.address, LOCK)
    if text is None:
        yield from _model(folder, folder.address, None)
        return
    try:
        release = Release.parse(text.decode(errors="replace"), LOCK)
    except ReleaseError as error:
        yield Finding("refuted", "seal", str(error))
        return
    model = folder.model or release.model_uri
    yield Finding("proved", "seal", f"the lock of {release.name} has the content of its seal")
    yield _approval(release, folder)
    yield from _model(folder, model, release)
    yield _evidence(release, model)
    origin = "that a commit gives it: it was built outside of Git"
    if release.commit:
        origin = (
            f"that {built_from(release, 12)} gives it; run verify release={release.name} in its repository"
        )
    yield Finding("unproved", "origin", origin)
    yield Finding("unproved", "metrics", "that another training would measure the same")


def _approval(release: Release, folder: Folder) -> Finding:
    if release.approval is None:
        # With a signer and an environment, the question is whether the release was admitted there.
        asked = folder.accepted and folder.environment
        text = "the lock is not signed, so anybody can have written it"
        return Finding("refuted" if asked else "unproved", "approval", text)
    if not folder.accepted:
        claimed = claimed_approval(release)
        by = f"by {claimed.signer} for {claimed.environment}, as it says; " if claimed else ""
        return Finding("unproved", "approval", f"{by}{_TRUST}")
    try:
        approval = signed_approval(release, folder.accepted)
    except ReleaseError as error:
        return Finding("refuted", "approval", str(error))
    text = f"{approval.signer} signed this lock for {approval.environment}, number {approval.number}"
    if folder.environment not in ("", approval.environment):
        return Finding("refuted", "approval", f"{text}, not for {folder.environment}")
    return Finding("proved", "approval", text, by_signer=True)


def _model(folder: Folder, address: str, release: Release | None) -> Iterator[Finding]:
    """Yield what the model at *address* proves, that of *release* if there is one."""
    try:
        found = read_files(address)
    except SourceError as error:
        if release is None:
            raise
        yield Finding("unproved", "model", f"{error}; give model=<its folder>")
        return
    if found:
        yield _files(found, address, release)
        yield from _signatures(folder, address, found)
    elif release is None:
        raise ReleaseError(f"{address}: neither {LOCK} nor a model's files are there; check the path")
    else:
        yield Finding("unproved", "model", f"no file is at {address}; give model=<its folder>")


def _files(found: dict[str, str], address: str, release: Release | None) -> Finding:
    """Return whether the files that were *found* are those of the list and of the digest."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(found.items()))
    actual, name = hashlib.sha256(lines.encode()).hexdigest(), address.rpartition("/")[2]
    wanted = {"lock": release.digest.removeprefix("sha256:")} if release else {}
    wanted |= {"folder's name": name} if _HEX.fullmatch(name) else {}
    try:
        listed = listed_files(address)
    except SourceError as error:
        return Finding("refuted", "model", str(error))
    if listed is not None and (wrong := differences(listed, found)):
        return Finding("refuted", "model", f"not as its {LIST} says: {wrong}")
    if other := [f"the {by} has {short_key(digest)}" for by, digest in wanted.items() if digest != actual]:
        text = f"its files have the digest {short_key(actual)}, and {' and '.join(other)}"
        return Finding("refuted", "model", text)
    named = [*wanted, *([LIST] if listed is not None else [])]
    if not named:
        return Finding("unproved", "model", f"its files have the digest {actual}; compare it with a lock's")
    text = f"its {len(found)} files, with the digest {short_key(actual)}, are those of the {', '.join(named)}"
    return Finding("proved", "model", text)


def _signatures(folder: Folder, address: str, found: dict[str, str]) -> Iterator[Finding]:
    """Yield whether an accepted signer signed exactly the files that were *found*."""
    if path := folder.signature:
        try:
            bundles = {path: Path(path).read_bytes()}
        except OSError as error:
            raise ReleaseError(f"{path}: the signature cannot be read: {error.strerror}") from error
    else:
        bundles = model_signatures(address)
    if not bundles:
        yield Finding(
            "unproved", "signature", "none is beside the model; if you have one, give signature=<file>"
        )
    for bundle in bundles.values():
        yield _signature(bundle, folder, found)


def _signature(bundle: bytes, folder: Folder, found: dict[str, str]) -> Finding:
    try:
        claimed = claimed_signer(json.loads(bundle))
        if not folder.accepted:
            return Finding("unproved", "signature", f"by {claimed}, as it says; {_TRUST}")
        if not folder.signature and claimed not in folder.accepted.names():
            return Finding("unproved", "signature", f"by {claimed}, whom you did not name")
        files, signer = signed_files(bundle, folder.accepted)
    except (ReleaseError, ValueError) as error:
        return Finding("refuted", "signature", f"not valid: {error}")
    if wrong := differences(files, found):
        return Finding("refuted", "signature", f"not as {signer} signed it: {wrong}")
    return Finding("proved", "signature", f"{signer} signed exactly these files", by_signer=True)


def _evidence(release: Release, model: str) -> Finding:
    """Return whether what is kept beside the model says the same as the lock."""
    place = evidence.address(release, model)
    try:
        kept = {name: evidence.find(place, name) for name in evidence.FILES}
    except SourceError as error:
        return Finding("unproved", "evidence", str(error))
    files = {name: content for name, content in kept.items() if content is not None}
    if not files:
        return Finding("unproved", "evidence", f"none is at {place}")
    if wrong := contradictions(release, files):
        text = "; ".join(f"{name} differs in {parts}" for name, parts in wrong.items())
        return Finding("refuted", "evidence", f"not as the lock says: {text}")
    return Finding("proved", "evidence", f"{', '.join(files)} say what the lock says")
