"""The objects that a cluster holds now; read only."""

from collections.abc import Mapping
from typing import Any

from framework.manifests.api_connection import ApiConnection, Remedies, is_configured
from framework.manifests.kubernetes_api import KubernetesApi

_PODS = {"pod": ("v1", "Pod"), "replicaset": ("apps/v1", "ReplicaSet")}
"""Kinds that are not in Git, but whose annotations name their release."""


class Cluster:
    """A cluster that is configured on this machine."""

    def __init__(self, api: KubernetesApi) -> None:
        self.api, self.server = api, api.connection.server

    @classmethod
    def chosen(cls, context: str) -> "Cluster | None":
        """Return the cluster of *context*, or of the current one; None where none is configured.

        Raises:
            ClusterError: the client is not installed, or its configuration cannot be used.
        """
        if not is_configured():
            return None
        return cls(KubernetesApi(ApiConnection(context or None, Remedies())))

    def live(self, rendered: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the cluster's version of a rendered object; None where it does not exist.

        Raises:
            ClusterError: the API server cannot be reached, or refuses.
        """
        return self.api.get(dict(rendered))

    def owned(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Return a pod or a replica set, which are not in Git; None where it does not exist.

        Raises:
            ClusterError: as ``live``.
        """
        if kind not in _PODS:
            return None
        version, api_kind = _PODS[kind]
        metadata = {"name": name, "namespace": namespace}
        return self.api.get({"apiVersion": version, "kind": api_kind, "metadata": metadata})
