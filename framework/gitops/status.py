"""``run status``: every release in Git and in a cluster, or the origin of one object."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.core.errors import ConfigError, FrameworkError, ReleaseError
from framework.core.git import Repository
from framework.core.release import Release, built_from
from framework.gitops.arguments import choice, name, parse_arguments, subfolder
from framework.gitops.history import versions
from framework.gitops.live_objects import RELEASE, Cluster
from framework.gitops.locks import lock_path, render_arguments, short_digest
from framework.gitops.release_status import (
    ReleaseStatus,
    drift_lines,
    release_statuses,
    rendered_objects,
    shared_folders,
)
from framework.gitops.text_layout import row

_DIGEST = "gitune.dev/digest"


def status(words: Sequence[str]) -> None:
    """Print the status of releases, or the origin of one object with ``object=``.

    Raises:
        FrameworkError: there is no release, the cluster does not answer, or ``check=true`` found a problem.
    """
    optional = dict.fromkeys(("environment", "release", "object", "context"), "")
    optional |= {"check": "false", "show": "all", "environments": "environments"}
    arguments = parse_arguments("status", words, (), optional)
    environment, release = (
        arguments[key] and name(key, arguments[key]) for key in ("environment", "release")
    )
    check = choice("check", arguments["check"], ("false", "true")) == "true"
    everything = choice("show", arguments["show"], ("all", "problems")) == "all"
    root = subfolder("environments", arguments["environments"])
    statuses = release_statuses(root, environment, release)
    if not statuses:
        wanted = "/".join(part or "*" for part in (environment, release))
        raise ReleaseError(f"{root}/{wanted}: no release there; {_how_to_get_one(root)}")
    cluster = Cluster.chosen(arguments["context"])
    if arguments["object"]:
        print("\n".join(_origin(root, statuses, arguments["object"], cluster)))
        return
    wrong = 0
    for entry in statuses:
        lines, bad = _in_git(root, entry)
        if bad or everything:
            print("\n".join([entry.folder, *lines]))
        wrong += bad
    if not everything:
        print(f"releases with problems in Git: {wrong} of {len(statuses)}")
    print(f"\ncluster {cluster.server}" if cluster else "\nno cluster is configured (KUBECONFIG): Git only")
    if cluster:
        wrong += _in_cluster(root, statuses, cluster, everything)
    if check and wrong:
        raise FrameworkError(f"problems found: {wrong}; see above")


def _how_to_get_one(root: str) -> str:
    if Repository(Path()).ask("config", "--bool", "core.sparseCheckout") == "true":
        return f"this checkout is sparse; include the folder with `git sparse-checkout add {root}`"
    return "build one with `run +recipe=<name>`"


def _in_git(root: str, entry: ReleaseStatus) -> tuple[list[str], bool]:
    """Return the lines on a release, and whether it has a problem."""
    last = [f"  last change {entry.last_change}"] if entry.last_change else []
    if entry.release is None:
        return [f"  problem     {entry.problem}", *last], True
    release = entry.release
    gates = [
        f"{metric} {_value(release, metric)} ({bound})" for metric, bound in sorted(release.gates.items())
    ]
    first, *more = gates or ["none"]
    state, stale = ["equal to a fresh render"], entry.stale and not entry.restored
    if entry.restored:
        count = f"{len(entry.stale)} file{'s' if len(entry.stale) > 1 else ''}"
        state = [f"as it ran at {entry.restored[:12]}", "which a rollback restored"]
        state.append(f"a fresh render differs in {count}")
    elif entry.stale:
        names = ", ".join(file.removeprefix(f"{entry.folder}/") for file in entry.stale)
        state = f"differs from a fresh render ({names})".split(", ")
    met = "gates are met" if entry.answer.gates else "no gates of its own"
    digest, commit = short_digest(release.digest), built_from(release, 12)
    lines = [
        row("release", digest, f"recipe {release.recipe}", f"built from {commit}"),
        *last,
        row("gates", f"passed when built: {first}", *more),
        row("here", *entry.missed or [f"{entry.environment}: {met}"]),
        *_signed(entry),
        row("rendered", *state),
        *([f"  fix with    {_render_command(root, entry)}"] if stale else []),
        *(
            [row("extra", *(f"{file}: Argo CD syncs it, remove it" for file in entry.extra))]
            if entry.extra
            else []
        ),
    ]
    return lines, bool(stale or entry.missed or entry.extra or entry.refusal)


def _signed(entry: ReleaseStatus) -> list[str]:
    """Return the line on the signature; none where unsigned releases are taken."""
    if entry.refusal:
        return [row("signed", *f"no: {entry.refusal}".split(", "))]
    if entry.approval is None:
        return []
    return [row("signed", f"by {entry.approval.signer}", f"number {entry.approval.number}")]


def _in_cluster(root: str, statuses: Sequence[ReleaseStatus], cluster: Cluster, everything: bool) -> int:
    """Print how the cluster differs, and return for how many releases it does.

    Args:
        root: the folder of environments.
        statuses: the releases.
        cluster: the cluster.
        everything: whether releases without a difference are printed too.

    Raises:
        FrameworkError: the API server cannot be reached, or refuses.
    """
    wrong = 0
    for entry in [*statuses, *shared_folders(root, statuses)]:
        try:
            objects = list(rendered_objects(root, entry).values())
        except ReleaseError as error:  # one broken file does not hide the other releases
            print(f"  {entry.folder}: not compared\n    {error}")
            wrong += 1
            continue
        if entry.release is None and not objects:  # nothing there is ours
            continue
        lines = drift_lines(cluster, objects, entry.controllers)
        if lines or everything:
            print(f"  {entry.folder}: {'differs' if lines else 'as in Git'} ({len(objects)} objects)")
        print("".join(f"    {line}\n" for line in lines), end="")
        wrong += bool(lines)
    return wrong


def _origin(root: str, statuses: Sequence[ReleaseStatus], wanted: str, cluster: Cluster | None) -> list[str]:
    """Return the lines that lead from an object to its release and everything that it was built from.

    Raises:
        FrameworkError: there is no such object, or more than one.
    """
    kind, _, title = wanted.lower().partition("/")
    if not title:
        raise ConfigError(f"command line 'object={wanted}': write <kind>/<name>, such as deployment/tiny")
    file = f"{kind}-{title}.yaml"
    held = [
        (entry, objects[file]) for entry in statuses if file in (objects := rendered_objects(root, entry))
    ]
    if len(held) > 1:
        places = ", ".join(entry.environment for entry, _ in held)
        raise ConfigError(f"command line 'object={wanted}': it is in {places}; add environment=<one of them>")
    if held:
        entry, item = held[0]
        lines = [f"{kind}/{title} in namespace {item['metadata']['namespace']}"]
        lines.append(f"  rendered    {root}/{entry.folder}/{file}")
        live = cluster.live(item) if cluster else None
        return lines + _release_of(root, entry, item if live is None else live)
    for entry in statuses if cluster else ():
        namespace = _namespace(root, entry)
        live = cluster.owned(kind, title, namespace) if cluster and namespace else None
        if live and live["metadata"].get("labels", {}).get(RELEASE) == entry.name:
            return [
                f"{kind}/{title} in namespace {namespace}, made by the cluster",
                *_release_of(root, entry, live),
            ]
    known = sorted({f[:-5].replace("-", "/", 1) for entry in statuses for f in rendered_objects(root, entry)})
    where = f"{root} or the cluster" if cluster else f"{root}, and no cluster is configured (KUBECONFIG)"
    raise ReleaseError(f"object={wanted}: not found in {where}; there are {', '.join(known)}")


def _namespace(root: str, entry: ReleaseStatus) -> str:
    objects = list(rendered_objects(root, entry).values())
    return str(objects[0]["metadata"]["namespace"]) if objects else ""


def _release_of(root: str, entry: ReleaseStatus, item: dict[str, Any]) -> list[str]:
    """Return the lines on the release that an object is annotated with, from the lock or from history."""
    digest = str(item["metadata"].get("annotations", {}).get(_DIGEST, ""))
    path = lock_path(root, entry.environment, entry.name)
    if entry.release is not None and entry.release.digest == digest:
        return _release_lines(entry.release, path)
    repository = Repository.around(Path())
    for version in versions(repository, "HEAD", path):
        if version.release is not None and version.digest == digest:
            lines = _release_lines(version.release, f"{path} at {version.commit[:12]}")
            return ["  not the release that Git has now", *lines]
    return [f"  release     {digest or 'not annotated on the object'}: in no sealed version of {path}"]


def _release_lines(release: Release, path: str) -> list[str]:
    measured: dict[str, list[str]] = {}
    for metric, value in sorted(release.metrics.items()):
        candidate, dot, metric_name = metric.partition(".")
        measured.setdefault(candidate if dot else "", []).append(f"{metric_name or metric}={value:g}")
    gates = [f"{metric} {bound}" for metric, bound in sorted(release.gates.items())]
    return [
        f"  release     {release.name} {release.digest}",
        f"  lock        {path}",
        f"  model       {release.model_uri}",
        "  metrics",
        *(row(candidate, *values, margin=4) for candidate, values in measured.items()),
        row("gates", *gates or ["none"]),
        f"  data        {release.data_digest}",
        f"  base model  {release.base_model} ({release.base_model_license})",
        f"  recipe      {release.recipe}",
        row("commit", *built_from(release).split(", ")),
    ]


def _render_command(root: str, entry: ReleaseStatus) -> str:
    """Return the command that renders a release again."""
    assert entry.release is not None
    arguments = render_arguments(entry.release, entry.environment, root)
    return shlex.join(["run", "render", *(word for word in arguments if word != "environments=environments")])


def _value(release: Release, metric: str) -> str:
    value = release.metrics.get(metric)
    return "not recorded" if value is None else f"{value:g}"
