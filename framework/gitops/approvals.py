"""Sign locks for environments that name their signers, and check the locks that are there.

The environment's option names the signers, on the branch that the change starts from; a recipe cannot. The
number of an approval is compared with those of the lock's earlier versions in Git: a lock that was signed
once and is put back has a number that is not above them.
"""

import json
from collections.abc import Sequence

from framework.core.approval import Approval, approve, check_approval, claimed_number
from framework.core.errors import ReleaseError
from framework.core.git import Repository
from framework.core.release import Release
from framework.core.sign_statement import signer
from framework.core.signers import Signers
from framework.gitops.committed import Mark
from framework.gitops.history import Version, versions
from framework.gitops.locks import lock_path
from framework.gitops.remote_compose import ComposeResult
from framework.gitops.render_release import render_release


def sign_lock(
    tree: Repository, path: str, release: Release, environment: str, signers: Signers, key: str
) -> Release:
    """Return *release* as its lock in *environment* states it: signed, where that names signers.

    Args:
        tree: a checkout of the branch that the lock lands on.
        path: the lock, relative to the checkout.
        release: the release; an approval for another environment is dropped.
        environment: the environment's name.
        signers: whose signature it takes; empty takes unsigned releases.
        key: the file of the private key; see ``signer``.

    Raises:
        ReleaseError: there is no key, or none that *signers* accept.
        GitError: the clone is shallow, so the numbers of earlier approvals are unknown.
    """
    if not signers:
        return release.model_copy(update={"approval": None})
    sign = signer(key, signers)
    if sign is None:
        how = "give its private key with key=<file> or in GITUNE_SIGNING_KEY"
        if not signers.keys:
            how = f"run this as a CI job that may sign: {signers}"
        raise ReleaseError(f"{path}: {environment} takes signed releases only; {how}")
    number = 1 + max((_number(version) for version in versions(tree, "HEAD", path)), default=0)
    try:
        return approve(release, environment, number, sign)
    except ReleaseError as error:
        raise ReleaseError(
            f"{path}: it is not signed for {environment}: {error}; sign with an accepted key, or add "
            f"yours to environment.signers in conf/environment/{environment}.yaml"
        ) from None


def sign_and_render(
    tree: Repository,
    release: Release,
    environment: str,
    environments: str,
    unsigned: ComposeResult,
    key: str,
) -> tuple[Release, ComposeResult]:
    """Return *release* as its lock in *environment* states it, and its files.

    Args:
        tree: a checkout of the branch that it lands on.
        release: the release.
        environment: the environment's name.
        environments: the folder of rendered manifests.
        unsigned: the release as it renders without a signature.
        key: the file of the private key; see ``signer``.

    Raises:
        FrameworkError: as ``sign_lock`` and ``render_release``.
    """
    signers = Signers.model_validate(unsigned.signers or {})
    path = lock_path(environments, environment, release.name)
    signed = sign_lock(tree, path, release, environment, signers, key)
    if signed == release:
        return release, unsigned
    return signed, render_release(tree.folder, signed, environment, environments)


def require_source(
    tree: Repository, path: str, release: Release, start: str, answer: ComposeResult, takes_any: bool
) -> Mark:
    """Check the lock that a promotion copies, and return how the promotion is marked.

    Args:
        tree: a checkout of the branch that the promotion lands on.
        path: the lock in *start*.
        release: the release of that lock.
        start: the environment that it comes from.
        answer: the release as it renders in the environment that it goes to, with the signers of both.
        takes_any: whether the caller chose ``source=any``.

    Raises:
        ReleaseError: *start* names signers, and none of them signed it. Or only the other environment does,
            so that this promotion would sign what was never proved, and the caller did not choose that.
        GitError: the clone is shallow, so earlier approvals are unknown.
    """
    accepted = Signers.model_validate(answer.start_signers or {})
    if accepted:
        require_approval(tree, path, release, start, accepted)
        return Mark()
    if not Signers.model_validate(answer.signers or {}):
        return Mark()
    if not takes_any:
        raise ReleaseError(
            f"{path}: {start} takes unsigned releases, so its metrics are not proved; set signers in "
            f"conf/environment/{start}.yaml and propose the release again, or mark it with source=any"
        )
    return Mark(f", not signed in {start}", f"Not proved: {start} takes unsigned releases.\n", "any")


def has_lock(tree: Repository, path: str, release: Release, environment: str, answer: ComposeResult) -> bool:
    """Return whether *path* in *tree* is the lock of *release*, signed where *environment* asks for it.

    A lock that was put back is not: it needs a new signature, also if a revert restored it.

    Raises:
        GitError: the clone is shallow, so earlier approvals are unknown.
    """
    file = tree.folder / path
    if not file.is_file():
        return False
    signers = Signers.model_validate(answer.signers or {})
    try:
        present = Release.parse(file.read_text(encoding="utf-8", errors="replace"), str(file))
        if signers:
            require_approval(tree, path, present, environment, signers)
    except ReleaseError:
        return False
    return present.seal == release.seal


def require_approval(
    tree: Repository, path: str, release: Release, environment: str, signers: Signers
) -> Approval:
    """Return the approval of the lock that is in *environment* now.

    Args:
        tree: a checkout; its HEAD has the lock.
        path: the lock, relative to the checkout.
        release: the release of that lock.
        environment: the environment's name.
        signers: whose signature it takes; not empty.

    Raises:
        ReleaseError: it is not signed by one of them for this environment, or was put back.
        GitError: the clone is shallow, so earlier approvals are unknown.
    """
    approval = checked(path, release, environment, signers)
    past = versions(tree, "HEAD", path)
    if replayed := _later(past, release, approval.number):
        raise ReleaseError(
            f"{path}: replayed: its approval has number {approval.number}, and {replayed.commit[:12]} had "
            f"number {_number(replayed)} before; if it should run, sign it again with `run promote`, in the "
            "first environment with `run propose release=<name>`, or go back with `run rollback`"
        )
    return approval


def checked(path: str, release: Release, environment: str, signers: Signers) -> Approval:
    """Return the approval of *release*, a lock of *environment* now or earlier; see ``require_approval``.

    Raises:
        ReleaseError: it is not signed by one of *signers* for this environment.
    """
    try:
        return check_approval(release, environment, signers)
    except ReleaseError as error:
        raise ReleaseError(
            f"{path}: {environment} takes signed releases only, and {error}; restore the lock from Git, or "
            "propose or promote the release again with an accepted key"
        ) from None


def _later(past: Sequence[Version], release: Release, number: int) -> Version | None:
    """Return an earlier version whose number is not below *number*, which the current lock has."""
    earlier = past[1:] if past and past[0].release == release else past
    return next((version for version in earlier if _number(version) >= number), None)


def _number(version: Version) -> int:
    """Return the number that a version's approval states, also if its lock is broken otherwise."""
    try:
        return claimed_number(json.loads(version.text).get("approval"))
    except (ValueError, AttributeError):
        return 0
