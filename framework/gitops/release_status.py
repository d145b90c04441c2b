"""How each release stands: what Git says of it, and what a cluster holds instead.

It prints nothing; a broken lock or recipe is a fact about its release, not an error of the command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.core.errors import FrameworkError, GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release
from framework.gitops.drift import drift
from framework.gitops.live_objects import Cluster
from framework.gitops.locks import place, unmet, words_of
from framework.gitops.remote_compose import Answer, Question, answer
from framework.render import HEADER, changes


@dataclass(frozen=True)
class Standing:
    """One release in one environment."""

    environment: str
    name: str
    release: Release | None = None
    problem: str = ""
    """Why the lock or its recipe cannot be used."""
    answer: Answer = field(default_factory=Answer)
    stale: tuple[str, ...] = ()
    """Files that a fresh render would change."""
    missed: tuple[str, ...] = ()
    """Gates of the environment that the recorded metrics do not meet."""
    last_change: str = ""
    """The last commit of the folder; empty without Git."""

    @property
    def place(self) -> str:
        """Such as ``dev/quickstart``."""
        return f"{self.environment}/{self.name}"


def standings(environments: str, environment: str, release: str) -> list[Standing]:
    """Return how the chosen releases stand in Git.

    Args:
        environments: the folder of rendered manifests.
        environment: only this one; all where it is empty.
        release: only this one; all where it is empty.
    """
    try:
        repository: Repository | None = Repository.around(Path())
    except GitError:
        repository = None
    locks = sorted(Path(environments).glob(f"{environment or '*'}/{release or '*'}/{LOCK}"))
    return [_standing(environments, lock, repository) for lock in locks]


def _standing(environments: str, lock: Path, repository: Repository | None) -> Standing:
    environment, name = lock.parts[-3:-1]
    path = place(environments, environment, name)
    log = ("log", "-1", "--format=%h %cs %s", "--", str(lock.parent))
    last = (repository.ask(*log) if repository else None) or ""
    try:
        release = Release.read(lock)
        found = answer(Question(words_of(release, environment, environments), release.text())).checked()
        changed = changes(found.files, Path(environments))
    except FrameworkError as error:
        why = str(error).replace(str(lock), path).replace("\n", " ")
        return Standing(environment, name, problem=why, last_change=last)
    stale = (*changed.added, *changed.changed, *changed.removed)
    missed = tuple(unmet(found.gates, release))
    return Standing(environment, name, release, "", found, stale, missed, last)


def rendered(environments: str, standing: Standing) -> dict[str, dict[str, Any]]:
    """Return the objects that were rendered for a release, by file name.

    Raises:
        ReleaseError: a file was edited so that it is no object any more.
    """
    folder = Path(environments, standing.environment, standing.name)
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(HEADER):  # somebody's own
            continue
        try:
            body = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError:
            body = None
        if not isinstance(body, dict) or ("kind" in body and not _is_named(body)):
            raise ReleaseError(f"{file}: no object of Kubernetes any more; restore the file from Git")
        if "kind" in body:  # not what compose reads on one machine
            found[file.name] = body
    return found


def _is_named(body: dict[str, Any]) -> bool:
    meta = body.get("metadata")
    return "apiVersion" in body and isinstance(meta, dict) and {"name", "namespace"} <= meta.keys()


def drifts(cluster: Cluster, objects: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each field, or whole object, that the cluster has otherwise than Git.

    Raises:
        FrameworkError: the API server cannot be reached, or refuses.
    """
    lines, gone = [], []
    for item in objects:
        label = f"{item['kind'].lower()}/{item['metadata']['name']}"
        live = cluster.live(item)
        if live is None:
            gone.append(label)
        else:
            lines += [f"{label} {each}" for each in drift(item, live)]
    if gone and len(gone) == len(objects):
        return ["nothing of it is there"]
    return [*(f"{label} is not there" for label in gone), *lines]
