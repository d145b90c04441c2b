"""The objects that a cluster holds now; read only."""

from collections.abc import Mapping
from typing import Any

from framework.gitops.managed_fields import KINDS, WORKLOADS
from framework.manifests.api_connection import ApiConnection, Remedies, is_configured
from framework.manifests.kubernetes_api import KubernetesApi

RELEASE = "app.kubernetes.io/instance"
"""Label with the release's name."""
_OWNED = ("Pod", "ReplicaSet")
"""Kinds that are not in Git, but whose annotations name their release."""
_REMEDIES = Remedies(
    forbidden="grant this account the right to get and list it, as `run argocd` writes for gitune-reader"
)


class Cluster:
    """A cluster that is configured on this machine."""

    def __init__(self, api: KubernetesApi) -> None:
        self.api, self.server = api, api.connection.server
        self._labeled: dict[str, list[dict[str, Any]]] = {}

    @classmethod
    def chosen(cls, context: str) -> "Cluster | None":
        """Return the cluster of *context*, or of the current one; None where none is configured.

        Raises:
            ClusterError: the client is not installed, or its configuration cannot be used.
        """
        if not is_configured():
            return None
        return cls(KubernetesApi(ApiConnection(context or None, _REMEDIES)))

    def live(self, rendered: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the cluster's version of a rendered object; None where it does not exist.

        Raises:
            ClusterError: the API server cannot be reached, or refuses.
        """
        return self.api.get(dict(rendered))

    def labeled(self, namespace: str) -> list[dict[str, Any]]:
        """Return the objects of *namespace* that carry the label of any release, read once.

        These are of the rendered kinds, and of those that run pods.

        Raises:
            ClusterError: as ``live``.
        """
        if namespace not in self._labeled:
            self._labeled[namespace] = [
                item
                for name, kind in {**KINDS, **WORKLOADS}.items()
                for item in self.api.items(kind.version, name, namespace, {RELEASE: ""})
            ]
        return self._labeled[namespace]

    def owned(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Return a pod or a replica set, which are not in Git; None where it does not exist.

        Raises:
            ClusterError: as ``live``.
        """
        title = next((title for title in _OWNED if title.lower() == kind), None)
        if title is None:
            return None
        metadata = {"name": name, "namespace": namespace}
        return self.api.get({"apiVersion": WORKLOADS[title].version, "kind": title, "metadata": metadata})
