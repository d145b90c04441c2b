"""``run status``: every release in every environment, in Git and in a cluster, and the way back to one."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.core.errors import ConfigError, FrameworkError, ReleaseError
from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.arguments import choice, name, read, subfolder
from framework.gitops.history import versions
from framework.gitops.live_objects import Cluster
from framework.gitops.locks import place, short, source, words_of
from framework.gitops.release_status import Standing, drifts, rendered, standings
from framework.gitops.text_layout import row

_DIGEST = "gitune.dev/digest"
_RELEASE = "app.kubernetes.io/instance"


def status(words: Sequence[str]) -> None:
    """Print how releases stand, or with ``object=`` where an object comes from.

    Raises:
        FrameworkError: there is nothing to show, the cluster does not answer, or ``check=true`` and something
            is not as it should be.
    """
    optional = dict.fromkeys(("environment", "release", "object", "context"), "")
    given = read("status", words, (), {**optional, "check": "false", "environments": "environments"})
    environment, release = (given[key] and name(key, given[key]) for key in ("environment", "release"))
    check = choice("check", given["check"], ("false", "true")) == "true"
    root = subfolder("environments", given["environments"])
    found = standings(root, environment, release)
    if not found:
        wanted = "/".join(part or "*" for part in (environment, release))
        raise ReleaseError(f"{root}/{wanted}: no release there; build one with `run +recipe=<name>`")
    cluster = Cluster.chosen(given["context"])
    if given["object"]:
        print("\n".join(_way_back(root, found, given["object"], cluster)))
        return
    wrong = 0
    told = f"cluster {cluster.server}" if cluster else "no cluster is configured (KUBECONFIG): Git alone"
    for each in found:
        lines, bad = _in_git(root, each)
        print("\n".join([each.place, *lines]))
        wrong += bad
    print(f"\n{told}")
    if cluster:
        wrong += _in_cluster(root, found, cluster)
    if check and wrong:
        raise FrameworkError(f"{wrong} of these are not as they should be; see above")


def _in_git(root: str, each: Standing) -> tuple[list[str], bool]:
    """Return the lines on a release, and whether something is wrong with it."""
    last = [f"  last change {each.last_change}"] if each.last_change else []
    if each.release is None:
        return [f"  problem     {each.problem}", *last], True
    release = each.release
    gates = [
        f"{metric} {_value(release, metric)} ({bound})" for metric, bound in sorted(release.gates.items())
    ]
    first, *more = gates or ["none"]
    state = ["equal to a fresh render"]
    if each.stale:
        names = ", ".join(file.removeprefix(f"{each.place}/") for file in each.stale)
        state = f"not what rendering gives ({names})".split(", ")
    met = "gates are met" if each.answer.gates else "no gates of its own"
    lines = [
        row(
            "release", short(release.digest), f"recipe {release.recipe}", f"built from {source(release, 12)}"
        ),
        *last,
        row("gates", f"passed when built: {first}", *more),
        row("here", *each.missed or [f"{each.environment}: {met}"]),
        row("rendered", *state),
        *([f"  mend it by  {_render(root, each)}"] if each.stale else []),
    ]
    return lines, bool(each.stale or each.missed)


def _in_cluster(root: str, found: Sequence[Standing], cluster: Cluster) -> int:
    """Print what the cluster has otherwise, and return for how many releases that is so.

    Raises:
        FrameworkError: the API server cannot be reached, or refuses.
    """
    wrong = 0
    for each in found:
        objects = list(rendered(root, each).values())
        lines = drifts(cluster, objects)
        print(f"  {each.place}: {'differs' if lines else 'as in Git'} ({len(objects)} objects)")
        print("".join(f"    {line}\n" for line in lines), end="")
        wrong += bool(lines)
    return wrong


def _way_back(root: str, found: Sequence[Standing], wanted: str, cluster: Cluster | None) -> list[str]:
    """Return the way from an object to its release, and from there to all that it rests on.

    Raises:
        FrameworkError: there is no such object, or more than one.
    """
    kind, _, title = wanted.lower().partition("/")
    file = f"{kind}-{title}.yaml"
    if not title:
        raise ConfigError(
            f"command line 'object={wanted}': name it as <kind>/<name>, such as deployment/tiny"
        )
    held = [(each, objects[file]) for each in found if file in (objects := rendered(root, each))]
    if len(held) > 1:
        places = ", ".join(each.environment for each, _ in held)
        raise ConfigError(f"command line 'object={wanted}': it is in {places}; add environment=<one of them>")
    if held:
        each, item = held[0]
        lines = [f"{kind}/{title} in namespace {item['metadata']['namespace']}"]
        lines.append(f"  rendered    {root}/{each.place}/{file}")
        live = cluster.live(item) if cluster else None
        return lines + _release_of(root, each, item if live is None else live)
    for each in found if cluster else ():
        namespace = _namespace(root, each)
        live = cluster.owned(kind, title, namespace) if cluster and namespace else None
        if live and live["metadata"].get("labels", {}).get(_RELEASE) == each.name:
            return [
                f"{kind}/{title} in namespace {namespace}, made by the cluster",
                *_release_of(root, each, live),
            ]
    known = sorted({name[:-5].replace("-", "/", 1) for each in found for name in rendered(root, each)})
    where = f"{root} or the cluster" if cluster else f"{root}, and no cluster is configured (KUBECONFIG)"
    raise ReleaseError(f"object={wanted}: nowhere in {where}; there are {', '.join(known)}")


def _namespace(root: str, each: Standing) -> str:
    objects = list(rendered(root, each).values())
    return str(objects[0]["metadata"]["namespace"]) if objects else ""


def _release_of(root: str, each: Standing, item: dict[str, Any]) -> list[str]:
    """Return the lines on the release that an object says it belongs to, from the lock or from history."""
    digest = str(item["metadata"].get("annotations", {}).get(_DIGEST, ""))
    path = place(root, each.environment, each.name)
    if each.release is not None and each.release.digest == digest:
        return _facts(each.release, path)
    repository = Repository.around(Path())
    for version in versions(repository, "HEAD", path):
        if version.release is not None and version.digest == digest:
            return ["  not what Git has now", *_facts(version.release, f"{path} at {version.commit[:12]}")]
    return [f"  release     {digest or 'not named by the object'}: in no sealed version of {path}"]


def _facts(release: Release, path: str) -> list[str]:
    measured: dict[str, list[str]] = {}
    for metric, value in sorted(release.metrics.items()):
        candidate, dot, name = metric.partition(".")
        measured.setdefault(candidate if dot else "", []).append(f"{name or metric}={value:g}")
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
        f"  commit      {source(release)}",
    ]


def _render(root: str, each: Standing) -> str:
    """Return the command that renders a release again."""
    assert each.release is not None
    words = words_of(each.release, each.environment, root)
    return shlex.join(["run", "render", *(word for word in words if word != "environments=environments")])


def _value(release: Release, metric: str) -> str:
    found = release.metrics.get(metric)
    return "not recorded" if found is None else f"{found:g}"
