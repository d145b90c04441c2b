"""Whose an object is: the name, labels and annotations that all objects of one release share.

It knows releases; what the objects are for, it does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.core.release import Release

Object = dict[str, Any]

_WAVE, _OPTIONS = "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/sync-options"
_SCALER = {_WAVE: "1"}
_PODS = {_OPTIONS: "PruneLast=true", _WAVE: "1"}
_SYNC: Mapping[str, Mapping[str, str]] = {
    "Deployment": _PODS,
    "HorizontalPodAutoscaler": _SCALER,
    "InferenceService": _PODS,
    "Rollout": _PODS,
    "ScaledObject": _SCALER,
    "Service": {_OPTIONS: "ServerSideApply=false"},
}
"""What Argo CD is told of a kind. What replaces and scales pods comes after all that it refers to, and must
be the last wave: only there a sync ends without waiting for health, so that a commit which rolls back need
not wait for a canary. What runs pods goes only once what took its place is healthy: where a recipe goes from
``rolling`` to another rollout, the Deployment would else be gone before the Rollout has a pod. No other sync
prunes one, so none waits for that. A Service's selector is one value to a server-side apply, which would take
the pods' hash out of it that a rollout has put in; a client-side apply leaves it."""
ARM = "gitune.dev/arm"
"""The label that tells the arms of an A/B test apart, on pods and in their measurements."""


@dataclass(frozen=True)
class Identity:
    """The name, labels and annotations that all objects of one release share."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    """Labels that find the release's pods; a Deployment's selector can never change, so they hold
    nothing that does."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    """The way back from an object: to the release, the recipe, the data and the commit."""

    @classmethod
    def of(cls, release: Release, namespace: str) -> "Identity":
        """Return the identity of *release* in *namespace*."""
        selector = {"app.kubernetes.io/instance": release.name, "app.kubernetes.io/name": "gitune-server"}
        labels = {
            "app.kubernetes.io/managed-by": "gitune",
            "app.kubernetes.io/part-of": "gitune",
            "app.kubernetes.io/version": release.digest.removeprefix("sha256:")[:12],
        }
        annotations = {
            "gitune.dev/base-model": release.base_model,
            "gitune.dev/data-digest": release.data_digest,
            "gitune.dev/digest": release.digest,
            "gitune.dev/plan": release.plan,
            "gitune.dev/recipe": release.recipe,
        }
        if release.commit is not None:
            annotations["gitune.dev/commit"] = release.commit
        return cls(release.name, namespace, selector, {**selector, **labels}, annotations)

    def object(
        self,
        api_version: str,
        kind: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Object:
        """Return an object of this identity.

        Args:
            api_version: as ``apps/v1``.
            kind: as ``Deployment``.
            name: its name; the release's where none is given.
            labels: what it has besides the identity's.
            annotations: what it has besides the identity's.
            body: what stands beside its metadata.
        """
        metadata = {
            "annotations": {**self.annotations, **_SYNC.get(kind, {}), **(annotations or {})},
            "labels": {**self.labels, **(labels or {})},
            "name": name or self.name,
            "namespace": self.namespace,
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
