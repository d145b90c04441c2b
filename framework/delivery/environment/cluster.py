"""Environments that are a namespace of a Kubernetes cluster.

What a release looks like there, the deployment decides; this only says where it goes and how far it
may grow.
"""

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
    """One namespace, kept equal to its folder in Git by Argo CD."""

    namespace: Annotated[Namespace, AfterValidator(_not_reserved)]
    """The Kubernetes namespace; it should enforce the Pod Security level ``restricted``."""
