"""Name, labels and annotations that all objects of one release share.

It knows releases. It does not know the objects' kinds.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.core.approval import claimed_number
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
"""Argo CD's annotations by kind.

Objects that run or scale pods sync after all that they refer to, in the last wave. Only the last wave ends
without waiting for health, so that a rollback does not wait for a canary.

Objects that run pods are pruned last. When a recipe changes from ``rolling`` to another rollout, the
Deployment would otherwise be deleted before the Rollout has a pod. No other sync prunes such an object.

Server-side apply treats a Service's selector as one value and would remove the pods' hash that a rollout adds
to it; client-side apply keeps it."""
SHARED = "shared"
"""Name of an environment's folder, and of its Application, for objects that several releases use."""
_LABELS = {"app.kubernetes.io/managed-by": "gitune", "app.kubernetes.io/part-of": "gitune"}
APPROVAL = "gitune.dev/approval"
"""Annotation with the number of the lock's approval, on objects and pods."""
DIGEST = "gitune.dev/digest"
"""Annotation with the model's digest, on objects and pods."""
ARM = "gitune.dev/arm"
"""Label of the arms of an A/B test, on pods and in metrics."""


@dataclass(frozen=True)
class Identity:
    """Name, labels and annotations that all objects of one release share."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    """Labels that match the release's pods. A Deployment's selector is immutable, so they do not change
    between versions."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    """Provenance of an object: release, recipe, overrides, data and commit."""

    @classmethod
    def of(cls, release: Release, namespace: str) -> "Identity":
        """Return the identity of *release* in *namespace*."""
        selector = {"app.kubernetes.io/instance": release.name, "app.kubernetes.io/name": "gitune-server"}
        labels = {
            **_LABELS,
            "app.kubernetes.io/version": release.digest.removeprefix("sha256:")[:12],
        }
        annotations = {
            "gitune.dev/base-model": release.base_model,
            "gitune.dev/data-digest": release.data_digest,
            DIGEST: release.digest,
            "gitune.dev/plan": release.plan,
            "gitune.dev/recipe": release.recipe,
        }
        if release.approval is not None:
            annotations[APPROVAL] = str(claimed_number(release.approval))
        if release.commit is not None:
            annotations["gitune.dev/commit"] = release.full_commit + ("-dirty" if release.changed else "")
        if release.overrides:
            annotations["gitune.dev/overrides"] = shlex.join(release.overrides)
        return cls(release.name, namespace, selector, {**selector, **labels}, annotations)

    @classmethod
    def shared(cls, namespace: str) -> "Identity":
        """Return the identity of objects in *namespace* that belong to no single release."""
        return cls(SHARED, namespace, {}, dict(_LABELS), {})

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
        """Return an object with this identity's metadata.

        Args:
            api_version: such as ``apps/v1``.
            kind: such as ``Deployment``.
            name: its name; None uses the release's.
            labels: further labels.
            annotations: further annotations.
            body: the fields beside ``metadata``.
        """
        metadata = {
            "annotations": {**self.annotations, **_SYNC.get(kind, {}), **(annotations or {})},
            "labels": {**self.labels, **(labels or {})},
            "name": name or self.name,
            "namespace": self.namespace,
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
