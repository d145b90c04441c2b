"""What a cluster holds now, read object by object through the ``kubernetes`` client; nothing is written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.core.errors import FrameworkError

_SECONDS = (5, 30)
"""How long connecting, and one answer, may take."""
_PODS = {"pod": ("v1", "Pod"), "replicaset": ("apps/v1", "ReplicaSet")}
"""Kinds that no manifest has but that carry the way back to their release."""


class Cluster:
    """A cluster that answers."""

    def __init__(self, api: Any, server: str) -> None:
        self._api, self.server = api, server
        self._kinds: dict[str, dict[str, str]] = {}

    @classmethod
    def chosen(cls, context: str) -> "Cluster | None":
        """Return the cluster of *context*, or of the current one; None where none is configured.

        Raises:
            FrameworkError: the client is not installed, or its configuration cannot be used.
        """
        default = Path.home() / ".kube" / "config"
        file = os.environ.get("KUBECONFIG") or (str(default) if default.is_file() else "")
        if not file and "KUBERNETES_SERVICE_HOST" not in os.environ:
            return None
        try:
            from kubernetes import client, config
        except ImportError:
            raise FrameworkError(
                "a cluster is configured, but its client is not installed: pip install 'gitune[cluster]'"
            ) from None
        try:
            if file:
                api = config.new_client_from_config(file, context or None)
            else:
                config.load_incluster_config()
                api = client.ApiClient()
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            raise FrameworkError(f"KUBECONFIG: cannot be used: {str(error).partition(chr(10))[0]}") from None
        # A server that is gone should be told at once, not after three more tries.
        api.rest_client.pool_manager.connection_pool_kw["retries"] = False
        return cls(api, str(api.configuration.host))

    def live(self, rendered: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the cluster's own version of a rendered object, or None where it holds none.

        Raises:
            FrameworkError: the API server cannot be reached, or refuses.
        """
        meta = rendered["metadata"]
        return self._read(rendered["apiVersion"], rendered["kind"], meta["namespace"], meta["name"])

    def owned(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Return a pod or a replica set, which Git does not hold; None where there is none.

        Raises:
            FrameworkError: as ``live``.
        """
        if kind not in _PODS:
            return None
        return self._read(*_PODS[kind], namespace, name)

    def _read(self, version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        plural = self._plurals(version).get(kind)
        if plural is None:  # the kind's definition is not installed
            return None
        return self._get(f"{_root(version)}/namespaces/{namespace}/{plural}/{name}")

    def _plurals(self, version: str) -> dict[str, str]:
        if version not in self._kinds:
            listed = self._get(_root(version)) or {}
            plain = [each for each in listed.get("resources", ()) if "/" not in each["name"]]
            self._kinds[version] = {each["kind"]: each["name"] for each in plain}
        return self._kinds[version]

    def _get(self, path: str) -> dict[str, Any] | None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._api.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=_SECONDS,
            )
            found: dict[str, Any] = json.loads(answer.data)
        except ApiException as error:
            if error.status == 404:
                return None
            raise FrameworkError(
                f"{self.server}: the API server answers {error.status} {error.reason} to GET {path}; "
                "give this account the right to read it"
            ) from None
        except HTTPError as error:
            why = str(error).rpartition(": ")[2]
            raise FrameworkError(
                f"{self.server}: the API server cannot be reached ({why}); check KUBECONFIG and the network"
            ) from None
        except ValueError:
            raise FrameworkError(f"{self.server}: no API server answers GET {path} there") from None
        return found


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
