"""The manifests that a release ran with, from Git: a rollback restores them, and ``status`` accepts them.

They were rendered by the recipe of that time. They are restored as they were, except the release's lock in
them, which may have a new signature, and the signature's number in the annotations, which the pods compare
with the lock. It does not know how to render.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.core.approval import claimed_number
from framework.core.errors import ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release
from framework.gitops.commit_log import RENDERED_AT, commit_records, proposal_of
from framework.gitops.history import Version, versions
from framework.gitops.managed_fields import KINDS
from framework.manifests.identity import APPROVAL, SHARED
from framework.render import APP, changes, is_generated, shared_by

Files = Mapping[str, str]
"""Text by path below the folder of environments."""
_PLACE = ("environment", "name", "namespace")
"""What ``app.json`` says about where a release goes."""
_CHECKSUM = re.compile(r"^ +gitune\.dev/config-checksum: .*$", re.M)


@dataclass(frozen=True)
class Earlier:
    """A release's files as they were at a commit, or why they cannot be restored."""

    commit: str
    files: Files
    reason: str = ""


def files_then(
    tree: Repository, environments: str, version: Version, release: Release, fresh: Files
) -> Earlier:
    """Return the files of *version* as it last ran.

    Args:
        tree: a checkout of the branch that they are restored on.
        environments: the folder of environments.
        version: the version.
        release: its release, signed again where the environment asks for it.
        fresh: what the recipe of today renders of *release*.
    """
    commit = tree.run("rev-parse", "--verify", f"{version.ran_at}^{{commit}}").strip()
    lock = next(path for path in fresh if path.endswith(f"/{LOCK}"))
    folder = lock.rpartition("/")[0]
    old = generated_at(tree, commit, environments, folder)
    app = _app(old.get(f"{folder}/{APP}"))
    reason = _unlike_today(old, app, folder, fresh)
    if not reason and (shared := app.get("shared")):
        beside = f"{folder.partition('/')[0]}/{SHARED}"
        then = generated_at(tree, commit, environments, beside)
        wanted = {f"{beside}/{name}" for name in shared} | {f"{beside}/{APP}"}
        old |= {path: then[path] for path in wanted & then.keys()}
        reason = _unshareable(wanted, then, Path(tree.folder, environments), Path(folder).name)
    if reason:
        return Earlier(commit, {}, reason)
    assert version.release is not None
    texts = {
        path: _with_checksum(_with_lock(text, version.release, release), fresh.get(path, ""))
        for path, text in old.items()
    }
    if release.approval is not None and not any(texts[path] != old[path] for path in old if path != lock):
        return Earlier(commit, {}, "they do not carry the lock, and this environment checks its signature")
    if wrong := _other_approval(texts, release):
        return Earlier(commit, {}, wrong)
    files = texts | {lock: fresh[lock]}
    try:
        changes(files, Path(tree.folder, environments))
    except ReleaseError as error:  # another release has one of these objects by now
        return Earlier(commit, {}, str(error))
    return Earlier(commit, files)


def restored_from(repository: Repository, environments: str, release: Release, fresh: Files) -> str:
    """Return the commit whose manifests a rollback put into a release's folder, if they are still there.

    Args:
        repository: the working folder.
        environments: the folder of environments.
        release: the release that the folder's lock names.
        fresh: what the recipe of today renders of it.

    Raises:
        FrameworkError: Git does not answer, or the folder cannot be read.
    """
    path = f"{environments}/{next(path for path in fresh if path.endswith(f'/{LOCK}'))}"
    folder = path.rpartition("/")[0]
    latest = commit_records(repository, "HEAD", folder, "--first-parent", "--max-count=1")
    claimed = proposal_of(repository, latest[0], folder).trailers[RENDERED_AT] if latest else ()
    if not claimed or repository.ask("rev-parse", "--is-shallow-repository") == "true":
        return ""
    for version in versions(repository, f"{latest[0].commit}^", path):
        if version.digest != release.digest or version.release is None:
            continue
        earlier = files_then(repository, environments, version, release, fresh)
        if earlier.commit in claimed:
            same = not earlier.reason and not changes(earlier.files, Path(environments))
            return earlier.commit if same else ""
    return ""


def generated_at(tree: Repository, commit: str, environments: str, folder: str) -> dict[str, str]:
    """Return the files of *folder* that rendering wrote, as they were at *commit*."""
    listed = tree.run("ls-tree", "--name-only", "-z", commit, "--", f"{environments}/{folder}/")
    files = [file for file in listed.split("\0") if file]
    texts = tree.blobs(f"{commit}:{tree.prefix}{file}" for file in files)
    found = zip((file.removeprefix(f"{environments}/") for file in files), texts, strict=True)
    return {file: text for file, text in found if text is not None and is_generated(Path(file), text)}


def _unlike_today(old: Files, app: Mapping[str, Any], folder: str, fresh: Files) -> str:
    """Return why the files *old* of *folder* would not do in place of *fresh*; empty if they do."""
    if not any(path.endswith((".yaml", ".json")) for path in old):
        return "no manifests were rendered then"
    today = _app(fresh.get(f"{folder}/{APP}"))
    for key in _PLACE:
        if app.get(key) != today.get(key):
            return f"{APP} has {key} {app.get(key)}, and the environment {today.get(key)}"
    for path in (path for path in old if path.endswith(".yaml")):
        if not (body := _object(old[path])):
            return f"{path} is not valid YAML"
        namespace = (body.get("metadata") or {}).get("namespace") if "kind" in body else None
        if "kind" in body and (body["kind"] not in KINDS or namespace != app.get("namespace")):
            return f"{path} is a {body['kind']} in namespace {namespace}, which Argo CD's project refuses"
    return ""


def _unshareable(wanted: set[str], then: Files, root: Path, name: str) -> str:
    """Return why the shared objects *wanted* cannot be what they were *then*; empty if they can.

    Args:
        wanted: their paths.
        then: the texts of that time.
        root: the folder of environments now.
        name: the release, the only one that may use what changed since.
    """
    for path in sorted(wanted):
        now = root / path
        others = shared_by(now.parents[1], besides=now.parents[1] / name)
        text = now.read_text(encoding="utf-8", errors="replace") if now.is_file() else None
        if path not in then:
            return f"{path} was not there then"
        if text != then[path] and now.name in others:
            return f"{path} changed since, and other releases use it"
    return ""


def _other_approval(texts: Files, release: Release) -> str:
    """Return why pods of the manifests *texts* would refuse *release*'s lock; empty if they would not."""
    number = None if release.approval is None else str(claimed_number(release.approval))
    for path, text in texts.items():
        body = _object(text) if path.endswith(".yaml") else {}
        spec = body.get("spec") or {}
        pods = {"Deployment": "template", "Rollout": "template", "InferenceService": "predictor"}
        if body.get("kind") not in pods:
            continue
        found = spec.get(pods[body["kind"]]) or {}
        annotations = (found.get("metadata") or found).get("annotations") or {}
        if (stated := annotations.get(APPROVAL)) != number:
            return (
                f"the pods of {path} check approval {stated or 'none'}, and the lock has {number or 'none'}"
            )
    return ""


def _object(text: str) -> dict[str, Any]:
    """Return the object of a YAML file; empty if it has none."""
    try:
        body = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    return body if isinstance(body, dict) else {}


def _app(text: str | None) -> dict[str, Any]:
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _with_lock(text: str, old: Release, new: Release) -> str:
    """Return *text* with the lock and its approval's number replaced; it is the lock, or YAML with both."""
    before, after = old.served().text(), new.served().text()
    if before == after or text == before:
        return after if text == before else text
    for margin in {line[: -len("{")] for line in text.splitlines() if line.strip() == "{"}:
        text = text.replace(_indented(before, margin), _indented(after, margin))
    numbers = [claimed_number(one.approval) for one in (old, new)]
    pattern = rf'^( +{re.escape(APPROVAL)}: )"{numbers[0]}"$'
    return re.sub(pattern, rf'\g<1>"{numbers[1]}"', text, flags=re.M)


def _with_checksum(text: str, fresh: str) -> str:
    """Return *fresh* if *text* differs from it only in the checksum of the pods' files, as by a new lock."""
    return fresh if _CHECKSUM.sub("", text) == _CHECKSUM.sub("", fresh) else text


def _indented(text: str, margin: str) -> str:
    return "".join(f"{margin}{line}" for line in text.splitlines(keepends=True))
