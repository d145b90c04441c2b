"""A Kubernetes API server: reads and writes objects as plain dicts, and streams logs.

Launchers and ``run status`` share it. It does not know what the objects mean.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping

from framework.core.errors import ClusterError
from framework.manifests.api_connection import ApiConnection, Refused, api_exception
from framework.manifests.identity import Object


class Silence(Exception):
    """A log has no new lines for a while, or the connection broke."""


class KubernetesApi:
    """The objects of one API server; plurals of kinds come from its discovery."""

    def __init__(self, connection: ApiConnection) -> None:
        self.connection = connection
        self._plurals: dict[str, dict[str, str]] = {}

    def get(self, item: Object) -> Object | None:
        """Return the server's version of *item*; None where the object or its kind does not exist.

        Raises:
            ClusterError: the server cannot be reached, or refuses.
        """
        path = self._path(item)
        return None if path is None else self.connection.request("GET", path, missing=True)

    def create(self, item: Object) -> Object | None:
        """Create *item* and return it; None where an object of this name exists.

        Raises:
            ClusterError: as ``get``, or the server does not know the kind.
        """
        return self.connection.request("POST", self.folder(item), body=item, conflict=True)

    def set_owner(self, item: Object, owner: Object) -> None:
        """Let Kubernetes delete *item* together with *owner*."""
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        body = {"metadata": {"ownerReferences": [reference]}}
        self.connection.request(
            "PATCH", self.path(item), body=body, kind="application/merge-patch+json", missing=True
        )

    def delete(self, item: Object) -> None:
        """Delete *item* and the objects that it owns, and wait until it is gone.

        Raises:
            ClusterError: as ``get``, or the object still exists after ``outage_seconds``.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        self.connection.request("DELETE", self.path(item), body=body, missing=True)
        deadline = time.monotonic() + self.connection.outage_seconds
        while self.get(item) is not None:
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.path(item)}: still not deleted; check its finalizers")
            time.sleep(1)

    def items(
        self, version: str, kind: str, namespace: str, labels: Mapping[str, str], *, optional: bool = False
    ) -> list[Object]:
        """Return the objects of a kind that have all *labels*.

        Args:
            version: such as ``v1`` or ``apps/v1``.
            kind: such as ``Pod``.
            namespace: where they are.
            labels: labels that each must have; with an empty value, any.
            optional: whether missing rights return an empty list instead of an error.

        Raises:
            ClusterError: as ``get``.
        """
        item = {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}}
        try:
            folder = self._folder(item)
            if folder is None:
                return []
            selector = (f"{key}={value}" if value else key for key, value in labels.items())
            query = {"labelSelector": ",".join(selector)}
            answer = self.connection.request("GET", folder, query=query, missing=True) or {}
        except Refused:
            if not optional:
                raise
            return []
        # A list's entries lack the two.
        return [{**entry, "apiVersion": version, "kind": kind} for entry in answer.get("items", [])]

    def log_lines(self, pod: Object, container: str, follow: bool) -> Iterator[str]:
        """Yield the lines of a container's log, each with its timestamp in front.

        Raises:
            Silence: no line came for a while, or the connection broke.
        """
        import urllib3

        query = {"container": container, "follow": str(follow).lower(), "timestamps": "true"}
        rest = b""
        try:
            response = self.connection.call("GET", f"{self.path(pod)}/log", query=query)
            with contextlib.closing(response):
                for chunk in response.stream():
                    *complete, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode(errors="replace") for line in complete)
        except (urllib3.exceptions.HTTPError, api_exception()) as error:
            raise Silence(str(error)) from None
        if rest:
            yield rest.decode(errors="replace")

    def path(self, item: Object) -> str:
        """Return the URL path of *item*.

        Raises:
            ClusterError: as ``create``.
        """
        return f"{self.folder(item)}/{item['metadata']['name']}"

    def folder(self, item: Object) -> str:
        """Return the URL path of all objects of *item*'s kind in its namespace.

        Raises:
            ClusterError: as ``create``.
        """
        folder = self._folder(item)
        if folder is None:
            raise self.connection.unknown_kind(f"{item['kind']} of {item['apiVersion']}")
        return folder

    def _path(self, item: Object) -> str | None:
        folder = self._folder(item)
        return None if folder is None else f"{folder}/{item['metadata']['name']}"

    def _folder(self, item: Object) -> str | None:
        """Return what ``folder`` does; None where the server does not know the kind."""
        version = str(item["apiVersion"])
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._plurals:
            resources = (self.connection.request("GET", root, missing=True) or {}).get("resources", ())
            self._plurals[version] = {
                resource["kind"]: resource["name"] for resource in resources if "/" not in resource["name"]
            }
        plural = self._plurals[version].get(item["kind"])
        return None if plural is None else f"{root}/namespaces/{item['metadata']['namespace']}/{plural}"
