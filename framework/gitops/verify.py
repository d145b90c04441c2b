"""``run verify``: whether a release or a published model is what it says, and who vouches for it.

Of a release in Git, it composes and plans the commit and overrides of the lock in a worktree and compares the
steps and the config; it builds nothing. So it proves where a release comes from, not that another training
would measure the same numbers. Of a folder, it needs no Git; see ``verify_folder``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.core.approval import check_approval, claimed_approval
from framework.core.errors import ConfigError, FrameworkError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release, built_from, config_digest, short_key
from framework.core.signers import Signers
from framework.core.signing import check_signature, signers
from framework.gitops.accepted_signers import accepted_signers, signers_of_environment
from framework.gitops.approvals import require_approval
from framework.gitops.arguments import name, parse_arguments, subfolder
from framework.gitops.locks import lock_path, read_lock
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_in
from framework.gitops.text_layout import paragraph, row
from framework.gitops.worktree import temporary_worktree
from framework.run.build_origin import recipe_words

_OF_FOLDER = ("folder", "model", "signature")


@dataclass(frozen=True)
class Comparison:
    """A lock beside the plan of its commit."""

    agrees: tuple[str, ...]
    differs: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    """What the lock does not record."""


def verify(words: Sequence[str]) -> None:
    """Print what is proved of a release in Git, or of a folder, and what is not.

    Raises:
        FrameworkError: there is no such lock or folder, or something is refuted.
    """
    optional = dict.fromkeys(("release", "folder", "environment", "model", "signature"), "")
    optional |= dict.fromkeys(("key", "identity", "issuer", "trust_config"), "")
    arguments = parse_arguments("verify", words, (), {**optional, "environments": "environments"})
    if stray := [key for key in _OF_FOLDER if arguments["release"] and arguments[key]]:
        raise ConfigError(
            f"command line '{stray[0]}=': it does not go with 'release='; leave one of them out"
        )
    accepted = accepted_signers(arguments)
    if arguments["release"]:
        _verify_release(arguments, accepted)
    elif arguments["folder"]:
        _verify_folder(arguments, accepted)
    else:
        raise ConfigError(
            "command line: name what to verify: run verify release=<name>, or folder=<path or URL>"
        )


def _verify_folder(arguments: Mapping[str, str], accepted: Signers) -> None:
    """Print what the folder proves.

    Raises:
        FrameworkError: it cannot be read, something is refuted, or nothing is signed by *accepted*.
    """
    from framework.gitops.verify_folder import Folder, findings, whole_address

    address = whole_address(arguments["folder"])
    folder = Folder(
        address,
        accepted,
        arguments["environment"],
        whole_address(arguments["model"]),
        arguments["signature"],
    )
    print(arguments["folder"])
    found = []
    for finding in findings(folder):
        print(finding.row())
        found.append(finding)
    wrong = [f"{one.claim}: {one.text}" for one in found if one.verdict == "refuted"]
    if accepted and not wrong and not any(one.by_signer for one in found):
        wrong = [f"{accepted} signed nothing of it"]
    if wrong:
        raise ReleaseError("\n".join(f"{arguments['folder']}: {text}" for text in wrong))


def _verify_release(arguments: Mapping[str, str], accepted: Signers) -> None:
    """Compare each lock of a release with the plan of its commit and check who signed it.

    Raises:
        FrameworkError: there is no such lock, or one of them is not what it says.
    """
    release = name("release", arguments["release"])
    chosen = arguments["environment"] and name("environment", arguments["environment"])
    root = subfolder("environments", arguments["environments"])
    found = [chosen] if chosen else sorted(lock.parts[-3] for lock in Path(root).glob(f"*/{release}/{LOCK}"))
    repository = Repository.around(Path())
    wrong = []
    for environment in found or ["dev"]:
        path = lock_path(root, environment, release)
        lock = read_lock(Path(), path, "this folder")
        print(f"{path}: recipe {lock.recipe}, built from {built_from(lock, 12)}")
        try:
            print(paragraph("approval", _approval(repository, path, lock, environment, accepted)))
        except FrameworkError as error:
            wrong.append(str(error))
        try:
            print(paragraph("signature", _signature(lock, accepted)))
        except FrameworkError as error:
            wrong.append(f"{path}: {error}")
        try:
            compared = compare(lock, _planned(repository, lock, environment))
        except FrameworkError as error:
            wrong.append(f"{path}: {error}")
            continue
        for title in ("agrees", "differs", "unknown"):
            if items := getattr(compared, title):
                print(row(title, *items))
        if compared.differs:
            wrong.append(f"{path}: {_consequence(lock, compared)}")
    if wrong:
        raise ReleaseError("\n".join(wrong))


def compare(lock: Release, planned: ComposeResult) -> Comparison:
    """Return what of *lock* agrees with the steps that were *planned* at its commit."""
    *steps, last = planned.steps
    now = {
        "config": config_digest({step["label"]: step["identity"]["spec"] for step in steps}),
        "plan": str(last["identity"]["spec"]["plan"]),
        **{f"step {step['label']}": short_key(step["key"]) for step in steps},
    }
    recorded = {
        **({"config": lock.config_digest} if lock.config_digest else {}),
        "plan": lock.plan,
        **{f"step {label}": key for label, key in (lock.steps or {}).items()},
    }
    same = [key for key, value in recorded.items() if now.get(key) == value]
    other = [key for key, value in recorded.items() if now.get(key) != value]
    if lock.steps is not None:
        other += [key for key in now if key.startswith("step ") and key not in recorded]
    missing = {"overrides": lock.overrides, "config": lock.config_digest, "steps": lock.steps}
    unknown = [key for key, value in missing.items() if value is None]
    return Comparison(tuple(same), tuple(other), tuple(unknown))


def _approval(repository: Repository, path: str, lock: Release, environment: str, accepted: Signers) -> str:
    """Return who admitted *lock* to its environment.

    Raises:
        FrameworkError: the environment names its signers, and none of them did, or the lock was put back; or
            *accepted* did not.
    """
    if required := signers_of_environment(environment):
        approval = require_approval(repository, path, lock, environment, required)
    elif accepted and lock.approval:
        try:
            approval = check_approval(lock, environment, accepted)
        except ReleaseError as error:
            raise ReleaseError(f"{path}: {error}") from None
    else:
        return _claimed(lock, environment)
    return f"number {approval.number}, by {approval.signer}"


def _claimed(lock: Release, environment: str) -> str:
    claimed = claimed_approval(lock)
    if claimed is None:
        return f"none, and {environment} requires none"
    return f"by {claimed.signer}, not checked: {environment} names no signers; give key=<public key>"


def _signature(lock: Release, accepted: Signers) -> str:
    """Return whether the model is signed, and what was checked of it.

    Raises:
        FrameworkError: *accepted* are given, and their signature is missing or not valid.
    """
    if accepted:
        return f"valid: every file of the model is as {check_signature(lock, accepted)} signed it"
    try:
        found = signers(lock)
    except FrameworkError as error:
        return f"unknown: {error}"
    if not found:
        return "none"
    return f"by {' and '.join(found)}, not checked: give key=<public key>"


def _planned(repository: Repository, lock: Release, environment: str) -> ComposeResult:
    """Compose and plan what the lock names, at its commit.

    Raises:
        FrameworkError: there is no such commit, or it cannot be planned there.
    """
    commit = lock.full_commit
    if not commit:
        raise ReleaseError(
            "built outside of Git, so there is no commit to compare with; commit and run again"
        )
    if repository.ask("cat-file", "-e", f"{commit}^{{commit}}") is None:
        fetch = "fetch the branch that it was built on"
        if repository.ask("rev-parse", "--is-shallow-repository") == "true":
            fetch = "it is shallow, so fetch the history: git fetch --unshallow"
        raise ReleaseError(
            f"this clone does not have commit {commit[:12]}; {fetch}, or build the release again from a "
            "commit that is here"
        )
    words = recipe_words(lock.recipe, lock.name, lock.built_for or environment)
    request = ComposeRequest((*words, *(lock.overrides or ())), with_plan=True)
    with temporary_worktree(repository, commit) as tree:
        return compose_in(tree.folder, [request])[0].checked()


def _consequence(lock: Release, compared: Comparison) -> str:
    """Return why *lock* differs from the plan of its commit, as far as the lock tells, and what to do."""
    if lock.changed:
        return "its tree had changes, so its commit does not give it; commit them and run again"
    if lock.overrides is None:
        return (
            "its commit does not give it alone: the lock does not record overrides, so it was built with "
            "some, or with other libraries than this machine's; build it again"
        )
    if "config" in compared.differs:
        return (
            "its commit gives another config: an override is missing from the lock, the config reads an "
            "environment variable (oc.env) that has another value here, or this is another version of the "
            "framework; write the values into the recipe and build it again"
        )
    return (
        "its commit does not give it with the libraries and files of this machine; install the versions that "
        "it was built with, or build it again"
    )
