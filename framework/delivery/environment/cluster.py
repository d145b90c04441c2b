"""Environments that are namespaces of a Kubernetes cluster."""

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from framework.delivery.environment import Environment, Namespace


def _not_reserved(namespace: str) -> str:
    if namespace.startswith("kube-"):
        raise PydanticCustomError(
            "reserved_namespace", "should not start with 'kube-', which Kubernetes keeps for itself"
        )
    return namespace


class Cluster(Environment):
    """A namespace that Argo CD keeps in sync with its folder in Git."""

    namespace: Annotated[Namespace, AfterValidator(_not_reserved)]
    """The Kubernetes namespace; it should enforce the Pod Security level ``restricted``."""
