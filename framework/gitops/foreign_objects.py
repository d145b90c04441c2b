"""Objects in a cluster that carry a release's labels without being in Git.

A Service or a network policy selects pods by these labels, so such an object takes part in the release.
Objects that a controller made for one in Git are none of these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from framework.gitops.field_owners import Owners
from framework.gitops.live_objects import RELEASE, Cluster
from framework.gitops.managed_fields import KINDS, WORKLOADS

_PROGRAM = "app.kubernetes.io/name"
_Object = Mapping[str, Any]


def foreign_lines(cluster: Cluster, objects: Sequence[_Object]) -> list[str]:
    """Return one line for each object of the cluster that carries the labels of *objects* and is not in Git.

    Args:
        cluster: the cluster.
        objects: the committed objects of one release, not empty.

    Raises:
        ClusterError: the API server cannot be reached, or refuses.
    """
    metadata = objects[0]["metadata"]
    labels = {key: metadata.get("labels", {}).get(key) for key in (RELEASE, _PROGRAM)}
    carrying = [
        item
        for item in cluster.labeled(metadata["namespace"])
        if labels.items() <= item["metadata"].get("labels", {}).items()
    ]
    accounted = {_key(item) for item in (*objects, *carrying)}
    committed = {_key(item) for item in objects}
    return [
        _line(item, owner)
        for item in carrying
        if _key(item) not in committed and _is_foreign(owner := _controller(item), accounted)
    ]


def _is_foreign(owner: tuple[str, str] | None, accounted: set[tuple[str, str]]) -> bool:
    """Return whether an object with this controller counts; the owner itself does where it is listed."""
    return owner is None or (owner not in accounted and owner[0] in {**KINDS, **WORKLOADS})


def _controller(item: _Object) -> tuple[str, str] | None:
    """Return kind and name of the object that controls *item*; None if it was not made by a controller."""
    for reference in item["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return reference["kind"], reference["name"]
    return None


def _line(item: _Object, owner: tuple[str, str] | None) -> str:
    owners = Owners.of(item)
    made = (
        f"for {owner[0].lower()}/{owner[1]}"
        if owner
        else f"by {' and '.join(owners.names) if owners else '?'}"
    )
    kind, name = _key(item)
    return f"{kind.lower()}/{name} is not in Git, but has the labels of this release; made {made}"


def _key(item: _Object) -> tuple[str, str]:
    return str(item["kind"]), str(item["metadata"]["name"])
