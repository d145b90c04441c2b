"""A Kubernetes API server: objects by the plain dicts that are rendered, and logs by the line.

It turns what the server refuses into one sentence. What the objects mean, it does not know.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from framework.core.errors import ClusterError
from framework.manifests.identity import Object

Found = TypeVar("Found")

_TIMEOUT = (10, 30)
"""Seconds to connect, and between two bytes."""
OUTAGE_SECONDS = 300.0
"""How long a server that does not answer is asked again."""
_LONGEST_PAUSE = 10.0
_GONE, _CONFLICT = 404, 409
_TRANSIENT = (429, 500, 502, 503, 504)


class Silence(Exception):
    """A log said nothing for a while."""


class Api:
    """The server of a kubeconfig's context, or the one whose pod this is."""

    def __init__(self, context: str | None) -> None:
        try:
            from kubernetes import client, config
        except ImportError:
            raise ClusterError(
                "launcher: the package kubernetes is not installed; pip install 'gitune[cluster]'"
            ) from None
        configuration = client.Configuration()
        configuration.retries = False
        try:
            try:
                # Without the name, the client takes what the variable was when it was imported.
                file = os.environ.get("KUBECONFIG") or "~/.kube/config"
                config.load_kube_config(file, context, client_configuration=configuration)
            except config.ConfigException:
                if context is not None:
                    raise
                config.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise ClusterError(
                f"launcher: no cluster to submit to: {str(error).rstrip('.')}; set KUBECONFIG or "
                "launcher.context=<name>, or only write the job with launcher.dry_run=true"
            ) from None
        self._client = client.ApiClient(configuration)
        self._host = str(configuration.host)

    def get(self, item: Object) -> Object | None:
        """Return the object as it is now, or None."""
        return self._ask("GET", path_of(item), missing=True)

    def create(self, item: Object) -> Object | None:
        """Create the object; return it, or None if one of its name is there."""
        return self._ask("POST", folder_of(item), body=item, conflict=True)

    def adopt(self, item: Object, owner: Object) -> None:
        """Let *item* go when *owner* goes."""
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        body = {"metadata": {"ownerReferences": [reference]}}
        self._ask("PATCH", path_of(item), body=body, kind="application/merge-patch+json", missing=True)

    def delete(self, item: Object) -> None:
        """Delete the object and all that belongs to it, and wait until it is gone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        self._ask("DELETE", path_of(item), body=body, missing=True)
        until = time.monotonic() + OUTAGE_SECONDS
        while self.get(item) is not None:
            if time.monotonic() > until:
                raise ClusterError(f"{path_of(item)}: it is still not gone; look what holds it back")
            time.sleep(1)

    def listed(self, folder: str, selector: str, optional: bool = False) -> list[Object]:
        """Return the objects of a folder, such as ``/api/v1/namespaces/x/pods``, by their labels.

        Args:
            folder: the path.
            selector: ``key=value,…``.
            optional: whether a server that has no such folder, or does not let us look, is no error.
        """
        found = self._ask("GET", folder, query={"labelSelector": selector}, missing=True, optional=optional)
        return list((found or {}).get("items", []))

    def lines(self, pod: Object, container: str, follow: bool) -> Iterator[str]:
        """Yield the lines of a pod's log, each with its time in front.

        Raises:
            Silence: nothing came for a while, or the connection broke.
        """
        import urllib3

        query = {"container": container, "follow": str(follow).lower(), "timestamps": "true"}
        rest = b""
        try:
            response = self._call("GET", f"{path_of(pod)}/log", None, query, "application/json")
            with contextlib.closing(response):
                for chunk in response.stream():
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode(errors="replace") for line in whole)
        except (urllib3.exceptions.HTTPError, self._refusal()) as error:
            raise Silence(str(error)) from None
        if rest:
            yield rest.decode(errors="replace")

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
        missing: bool = False,
        conflict: bool = False,
        optional: bool = False,
    ) -> Object | None:
        """Return the server's answer; None where nothing is there, or something, and that may be.

        Raises:
            ClusterError: the server refuses, or has not answered for a while.
        """
        refusal = self._refusal()

        def attempt() -> Object | None:
            try:
                answer: Object = json.loads(self._call(method, path, body, query or {}, kind).data)
            except refusal as error:
                if (missing and error.status == _GONE) or (conflict and error.status == _CONFLICT):
                    return None
                if error.status in _TRANSIENT:
                    raise ConnectionError(f"{error.status} {error.reason}") from None
                if optional:
                    return None
                raise ClusterError(_refused(method, path, error)) from None
            return answer

        return self._steadily(attempt)

    def _steadily(self, attempt: Callable[[], Found]) -> Found:
        """Return what *attempt* does; ask again for a while where the server does not answer."""
        import urllib3

        until, pause = time.monotonic() + OUTAGE_SECONDS, 0.5
        while True:
            try:
                return attempt()
            except (urllib3.exceptions.HTTPError, ConnectionError) as error:
                if time.monotonic() + pause > until:
                    why = str(getattr(error, "reason", None) or error).rpartition(": ")[2]
                    raise ClusterError(
                        f"{self._host}: the API server does not answer ({why}); a job that was submitted "
                        "goes on, and the same command follows it"
                    ) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _call(self, method: str, path: str, body: Object | None, query: Mapping[str, str], kind: str) -> Any:
        return self._client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=_TIMEOUT,
        )

    @staticmethod
    def _refusal() -> Any:
        from kubernetes.client.exceptions import ApiException

        return ApiException


def folder_of(item: Object) -> str:
    """Return the API's path of the objects beside *item*.

    >>> folder_of({"apiVersion": "example.com/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "a"}})
    '/apis/example.com/v1/namespaces/a/networkpolicies'
    """
    version, kind = str(item["apiVersion"]), str(item["kind"]).lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    root = "apis" if "/" in version else "api"
    return f"/{root}/{version}/namespaces/{item['metadata']['namespace']}/{plural}"


def path_of(item: Object) -> str:
    """Return the API's path of *item*."""
    return f"{folder_of(item)}/{item['metadata']['name']}"


def _refused(method: str, path: str, error: Any) -> str:
    """Say in one sentence what the server refused."""
    try:
        said = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        said = str(error.reason)
    place = f"{method} {path}"
    if error.status in (401, 403):
        mend = "let an administrator bind the Role of environments/argocd/training/ to this account"
        return f"{place}: not allowed: {said}; {mend}"
    if error.status == _GONE:
        return (
            f"{place}: the cluster does not know this kind of object, or the namespace; install its "
            "controller (Kubeflow Trainer or JobSet), or choose the other of launcher=trainjob and "
            "launcher=jobset, and look at launcher.namespace"
        )
    return f"{place}: the cluster refuses it: {said}; mend the key of launcher that it is about"
