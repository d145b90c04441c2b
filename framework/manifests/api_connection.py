"""The connection to a Kubernetes API server: configuration, requests, retries and error messages.

It turns every error into one sentence. It knows URL paths; objects and kinds are ``kubernetes_api``'s.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from framework.core.error_text import first_line
from framework.core.errors import ClusterError
from framework.manifests.identity import Object

Result = TypeVar("Result")

_TIMEOUT = (5, 30)
"""Seconds to connect, and between two bytes."""
_LONGEST_PAUSE = 10.0
_MISSING, _CONFLICT = 404, 409
_TRANSIENT = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Remedies:
    """How to fix what can go wrong with a server; each completes an error message of this module."""

    connect: str = "check the kubeconfig and its context"
    """No cluster is configured, or its configuration cannot be used."""
    unreachable: str = "check KUBECONFIG and the network"
    """The server does not answer."""
    forbidden: str = "grant this account the right to read it"
    """The account lacks a right."""
    unknown_kind: str = "install the controller that defines it"
    """The server does not know the object's kind or namespace."""
    invalid: str = "fix the field it names"
    """The server rejects the object."""


class Refused(ClusterError):
    """The server answered, and refused the request."""


def is_configured() -> bool:
    """Return whether a kubeconfig, or the account of the pod that this runs in, leads to a cluster."""
    return bool(_kubeconfig()) or _is_in_pod()


def _is_in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _kubeconfig() -> str:
    default = Path.home() / ".kube" / "config"
    return os.environ.get("KUBECONFIG") or (str(default) if default.is_file() else "")


def _configure(configuration: Any, context: str | None) -> None:
    """Fill the client's *configuration* from the kubeconfig or, where that leads nowhere, from the pod."""
    from kubernetes import config

    path = _kubeconfig()
    try:
        if not path:  # without a path, the client takes the one that the variable held when it was imported
            raise config.ConfigException(f"no kubeconfig has the context {context}")
        config.load_kube_config(path, context, client_configuration=configuration)
    except config.ConfigException:
        if context is not None or not _is_in_pod():
            raise
        config.load_incluster_config(client_configuration=configuration)


class ApiConnection:
    """A connection to the API server of a kubeconfig's context, or of the cluster that this runs in.

    Args:
        context: the kubeconfig's context; None uses the current one.
        remedies: how to fix errors.
        outage_seconds: how long a request is repeated while the server does not answer.

    Raises:
        ClusterError: the client is not installed, or the configuration cannot be used.
    """

    def __init__(self, context: str | None, remedies: Remedies, outage_seconds: float = 0.0) -> None:
        try:
            from kubernetes import client, config
        except ImportError:
            raise ClusterError(
                "the Python package kubernetes is not installed, so no cluster can be reached; "
                "pip install 'gitune[cluster]'"
            ) from None
        self._remedies, self.outage_seconds = remedies, outage_seconds
        configuration = client.Configuration()
        configuration.retries = False  # requests are repeated here, and only where that is asked for
        if not is_configured():
            raise ClusterError(f"KUBECONFIG: not set, and ~/.kube/config does not exist; {remedies.connect}")
        try:
            _configure(configuration, context)
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            raise ClusterError(
                f"KUBECONFIG: cannot be used: {first_line(error).rstrip('.')}; {remedies.connect}"
            ) from None
        self._client = client.ApiClient(configuration)
        self.server = str(configuration.host)
        """The server's URL."""

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> Any:
        """Return the raw response to one request; the client's own exceptions pass through.

        Args:
            method: HTTP method.
            path: URL path.
            body: JSON body.
            query: query parameters.
            kind: the body's content type.
        """
        return self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=_TIMEOUT,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
        missing: bool = False,
        conflict: bool = False,
    ) -> Object | None:
        """Return the server's answer; None on 404 with *missing*, and on 409 with *conflict*.

        Raises:
            ClusterError: the server refuses, or did not answer for ``outage_seconds``.
        """
        refused = api_exception()

        def attempt() -> Object | None:
            try:
                answer: Object = json.loads(self.call(method, path, body=body, query=query, kind=kind).data)
            except refused as error:
                if (missing and error.status == _MISSING) or (conflict and error.status == _CONFLICT):
                    return None
                if error.status in _TRANSIENT:
                    raise ConnectionError(f"{error.status} {error.reason}") from None
                raise self._refusal(f"{method} {path}", error) from None
            except ValueError:
                raise ClusterError(
                    f"{self.server}: no API server answers {method} {path} there; {self._remedies.connect}"
                ) from None
            return answer

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], Result]) -> Result:
        """Return the result of *attempt*, repeated for ``outage_seconds`` during an outage."""
        import urllib3

        deadline, pause = time.monotonic() + self.outage_seconds, 0.5
        while True:
            try:
                return attempt()
            except (urllib3.exceptions.HTTPError, ConnectionError) as error:
                if time.monotonic() + pause > deadline:
                    reason = str(getattr(error, "reason", None) or error).rpartition(": ")[2]
                    raise ClusterError(
                        f"{self.server}: the API server cannot be reached ({reason}); "
                        f"{self._remedies.unreachable}"
                    ) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _refusal(self, request: str, error: Any) -> ClusterError:
        """Return the error for a request that the server refused."""
        try:
            message = str(json.loads(error.body)["message"])
        except (TypeError, ValueError, KeyError):
            message = str(error.reason)
        if error.status in (401, 403):
            return Refused(
                f"{self.server}: {request}: not allowed ({error.status}): {message}; "
                f"{self._remedies.forbidden}"
            )
        if error.status == _MISSING:
            return self.unknown_kind(request)
        return Refused(
            f"{self.server}: {request}: rejected ({error.status}): {message}; {self._remedies.invalid}"
        )

    def unknown_kind(self, subject: str) -> ClusterError:
        """Return the error for *subject*, whose kind or namespace the server does not know."""
        return Refused(
            f"{self.server}: {subject}: the cluster does not know this kind of object, or the namespace; "
            f"{self._remedies.unknown_kind}"
        )


def api_exception() -> Any:
    """Return the client's exception for a response with an error status."""
    from kubernetes.client.exceptions import ApiException

    return ApiException
