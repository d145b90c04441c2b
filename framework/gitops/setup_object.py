"""Objects that are applied to a cluster once, outside of any release's folder."""

from typing import Any

LABELS = {"app.kubernetes.io/managed-by": "gitune", "app.kubernetes.io/part-of": "gitune"}
Object = dict[str, Any]


def setup_object(version: str, kind: str, name: str, namespace: str | None = None, **body: Any) -> Object:
    """Return an object with the labels that all of them have.

    Args:
        version: its API version, such as ``v1``.
        kind: its kind.
        name: its name.
        namespace: its namespace; None for an object of the whole cluster.
        body: the fields beside ``metadata``.
    """
    scope = {} if namespace is None else {"namespace": namespace}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"labels": dict(LABELS), "name": name, **scope},
        **body,
    }
