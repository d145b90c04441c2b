"""Collect the status of each release: what Git holds, and how a cluster differs from it.

It prints nothing. A broken lock or recipe is part of a release's status, not an error of the command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.core.approval import Approval
from framework.core.errors import FrameworkError, GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release
from framework.core.signers import Signers
from framework.gitops.approvals import checked, require_approval
from framework.gitops.drift import drift
from framework.gitops.earlier_manifests import restored_from
from framework.gitops.foreign_objects import foreign_lines
from framework.gitops.live_objects import Cluster
from framework.gitops.locks import lock_path, missed_gates, read_lock, render_arguments
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_here
from framework.gitops.synced_files import extra_files, synced_files, synced_folders
from framework.manifests.identity import SHARED
from framework.render import APP, HEADER, changes


@dataclass(frozen=True)
class ReleaseStatus:
    """One release in one environment."""

    environment: str
    name: str
    release: Release | None = None
    problem: str = ""
    """Why the lock or its recipe cannot be used."""
    answer: ComposeResult = field(default_factory=ComposeResult)
    stale: tuple[str, ...] = ()
    """Files that a fresh render would change."""
    restored: str = ""
    """The commit whose manifests a rollback restored, which is why a fresh render differs; else empty."""
    extra: tuple[str, ...] = ()
    """Files that Argo CD syncs although the lock does not render them."""
    missed: tuple[str, ...] = ()
    """Gates of the environment that the recorded metrics miss."""
    approval: Approval | None = None
    """The checked signature; None where the environment takes unsigned releases."""
    refusal: str = ""
    """Why the environment's pods do not take the signature, or its lack."""
    last_change: str = ""
    """The last commit that changed the folder; empty without Git."""

    @property
    def controllers(self) -> dict[str, Sequence[str]]:
        """The fields that the environment allows other controllers to add, by the controller's name."""
        return self.answer.config["environment"].get("controllers", {}) if self.answer.config else {}

    @property
    def folder(self) -> str:
        """The folder below ``environments``, such as ``dev/quickstart``."""
        return f"{self.environment}/{self.name}"


def release_statuses(environments: str, environment: str, release: str) -> list[ReleaseStatus]:
    """Return the status of the selected releases in Git, and of folders that Argo CD syncs without a lock.

    Args:
        environments: the folder of rendered manifests.
        environment: select one environment; empty for all.
        release: select one release; empty for all.
    """
    try:
        repository: Repository | None = Repository.around(Path())
    except GitError:
        repository = None
    root = Path(environments)
    locks = sorted(root.glob(f"{environment or '*'}/{release or '*'}/{LOCK}"))
    statuses = [_status(environments, lock, repository) for lock in locks]
    locked = {lock.parent.relative_to(root) for lock in locks}
    for folder in synced_folders(root):
        place, name, *_ = folder.parts
        if folder in locked or environment not in ("", place) or release not in ("", name):
            continue
        if files := extra_files(root / folder):
            statuses.append(_without_lock(root, folder, files, _last_change(root / folder, repository)))
    return sorted(statuses, key=lambda status: status.folder)


def _last_change(folder: Path, repository: Repository | None) -> str:
    log = ("log", "-1", "--format=%h %cs %s", "--", str(folder))
    return (repository.ask(*log) if repository else None) or ""


def _without_lock(root: Path, folder: Path, files: Sequence[str], last_change: str) -> ReleaseStatus:
    """Return the status of a folder with *files* that Argo CD syncs and no lock renders."""
    environment, *names = folder.parts
    listed = ", ".join(files)
    problem = f"Argo CD syncs this folder, but it has no {LOCK}: restore that from Git, or remove {listed}"
    if folder.name == SHARED:
        problem = f"Argo CD syncs objects here that no release of {environment} shares: remove {listed}"
    return ReleaseStatus(environment, "/".join(names), problem=problem, last_change=last_change)


def _status(environments: str, lock: Path, repository: Repository | None) -> ReleaseStatus:
    environment, name = lock.parts[-3:-1]
    last_change = _last_change(lock.parent, repository)
    path = lock_path(environments, environment, name)
    try:
        release = read_lock(Path(), path, "disk")
        arguments = render_arguments(release, environment, environments)
        answer = compose_here(ComposeRequest(arguments, release.text())).checked()
        changed = changes(answer.files, Path(environments))
    except FrameworkError as error:
        problem = str(error).replace(str(lock), path).replace("\n", " ")
        return ReleaseStatus(environment, name, problem=problem, last_change=last_change)
    stale = (*changed.added, *changed.changed, *changed.removed)
    missed = tuple(missed_gates(answer.gates, release))
    files = synced_files(lock.parent) if (lock.parent / APP).exists() else []
    extra = tuple(file for file in files if f"{environment}/{name}/{file}" in changed.foreign)
    approval, refusal = _approval(path, release, environment, answer, repository)
    restored = _restored(environments, release, answer, repository) if stale else ""
    return ReleaseStatus(
        environment, name, release, "", answer, stale, restored, extra, missed, approval, refusal, last_change
    )


def _restored(
    environments: str, release: Release, answer: ComposeResult, repository: Repository | None
) -> str:
    """Return the commit whose manifests a rollback put here; empty without one, or if they were changed."""
    try:
        return restored_from(repository, environments, release, answer.files) if repository else ""
    except FrameworkError:  # there is no commit yet
        return ""


def _approval(
    path: str, release: Release, environment: str, answer: ComposeResult, repository: Repository | None
) -> tuple[Approval | None, str]:
    """Return the lock's approval, or why it has none that the environment takes."""
    signers = Signers.model_validate(answer.signers or {})
    if not signers:
        return None, ""
    try:
        if repository is None:  # without history, no lock is known to be an old one
            return checked(path, release, environment, signers), ""
        return require_approval(repository, path, release, environment, signers), ""
    except FrameworkError as error:
        return None, str(error).removeprefix(f"{path}: ")


def shared_folders(environments: str, statuses: Sequence[ReleaseStatus]) -> list[ReleaseStatus]:
    """Return the folders of shared objects of the environments in *statuses*, without those in it."""
    present = {status.folder for status in statuses}
    shared = [
        ReleaseStatus(status.environment, SHARED, answer=status.answer)
        for status in {status.environment: status for status in statuses if status.answer.config}.values()
    ]
    known = [entry for entry in shared if entry.folder not in present]
    return [entry for entry in known if Path(environments, entry.folder).is_dir()]


def rendered_objects(environments: str, status: ReleaseStatus) -> dict[str, dict[str, Any]]:
    """Return the committed Kubernetes objects of a release, by file name.

    Raises:
        ReleaseError: a rendered file was edited and is no longer a valid object.
    """
    folder = Path(environments, status.environment, status.name)
    objects = {}
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(HEADER):  # not generated by Gitune
            continue
        try:
            body = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError:
            body = None
        if not isinstance(body, dict) or ("kind" in body and not _is_named(body)):
            raise ReleaseError(f"{file}: not a valid Kubernetes object; restore the file from Git")
        if "kind" in body:  # compose files have none
            objects[file.name] = body
    return objects


def _is_named(body: dict[str, Any]) -> bool:
    meta = body.get("metadata")
    return "apiVersion" in body and isinstance(meta, dict) and {"name", "namespace"} <= meta.keys()


def drift_lines(
    cluster: Cluster, objects: Sequence[dict[str, Any]], allowed: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return one line for each field or object in which the cluster differs from Git.

    Args:
        cluster: the cluster.
        objects: the committed objects of one folder.
        allowed: the fields that other controllers may add; see ``drift``.

    Raises:
        FrameworkError: the API server cannot be reached, or refuses.
    """
    lines, missing = [], []
    for item in objects:
        label = f"{item['kind'].lower()}/{item['metadata']['name']}"
        live = cluster.live(item)
        if live is None:
            missing.append(label)
        else:
            lines += [f"{label} {field}" for field in drift(item, live, allowed)]
    if missing and len(missing) == len(objects):
        lines, missing = ["none of its objects exist"], []
    foreign = foreign_lines(cluster, objects) if objects else []
    return [*(f"{label} does not exist" for label in missing), *lines, *foreign]
