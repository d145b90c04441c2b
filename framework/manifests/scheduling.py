"""Where a pod may run: node labels, taints, priority, spot or on-demand, and how replicas are spread.

It knows pods' specs; what runs in the pods, it does not know.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.manifests.identity import Object
from framework.manifests.values import LabelKey, LabelValue

GPU = "nvidia.com/gpu"
"""The resource of NVIDIA's device plugin, and the taint that clusters put on the nodes that have it."""


class Toleration(Component):
    """A taint that does not keep the pods off a node."""

    key: LabelKey
    """The taint's key."""
    value: LabelValue | None = None
    """The taint's value; None means any."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"
    """The taint's effect; None means all."""

    def manifest(self) -> Object:
        """Return it as a pod's spec has it."""
        found: Object = {"key": self.key, "operator": "Exists" if self.value is None else "Equal"}
        if self.value is not None:
            found["value"] = self.value
        if self.effect is not None:
            found["effect"] = self.effect
        return found


class Capacity(Component):
    """Whether nodes that the cloud may take back at any time serve."""

    kind: Literal["any", "on-demand", "spot", "mixed"] = "any"
    """``any`` leaves it to the cluster, ``on-demand`` and ``spot`` ask for such nodes alone, ``mixed``
    spreads the replicas over both, so that what the cloud takes back is never all of them."""
    label: LabelKey = "karpenter.sh/capacity-type"
    """The nodes' label that tells; ``cloud.google.com/gke-provisioning`` or
    ``eks.amazonaws.com/capacityType`` elsewhere."""
    on_demand: LabelValue = "on-demand"
    """The label's value on nodes that stay."""
    spot: LabelValue = "spot"
    """The label's value on nodes that may be taken back; a taint of the same key and value is tolerated."""

    @model_validator(mode="after")
    def _told_apart(self) -> "Capacity":
        if self.on_demand == self.spot:
            raise PydanticCustomError("equal_capacity", "'on_demand' and 'spot' must differ")
        return self

    def wanted(self) -> tuple[str, ...]:
        """Return the label's values of the nodes that may serve; empty for every node."""
        values = {"on-demand": (self.on_demand,), "spot": (self.spot,), "mixed": (self.on_demand, self.spot)}
        return values.get(self.kind, ())


def placement(
    selector: Mapping[str, str],
    *,
    node_selector: Mapping[str, str],
    tolerations: Iterable[Toleration],
    priority_class: str | None,
    capacity: Capacity,
    gpus: int,
) -> Object:
    """Return the part of a pod's spec that says where it may run.

    Args:
        selector: labels that find the replicas, which are spread.
        node_selector: labels that a node must have.
        tolerations: taints that do not matter.
        priority_class: the PriorityClass; None for the cluster's own default.
        capacity: spot or on-demand.
        gpus: GPUs of a pod; nodes that have some are tainted in most clusters.
    """
    wanted = capacity.wanted()
    ignored = list(tolerations)
    if capacity.spot in wanted:
        ignored.append(Toleration(key=capacity.label, value=capacity.spot))
    if gpus:
        ignored.append(Toleration(key=GPU))
    keys = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    if capacity.kind == "mixed":
        keys.append(capacity.label)
    found: Object = {"topologySpreadConstraints": [_spread(selector, key) for key in keys]}
    if ignored:
        found["tolerations"] = [toleration.manifest() for toleration in dict.fromkeys(ignored)]
    if node_selector:
        found["nodeSelector"] = dict(node_selector)
    if priority_class is not None:
        found["priorityClassName"] = priority_class
    if wanted:
        terms = [{"matchExpressions": [{"key": capacity.label, "operator": "In", "values": list(wanted)}]}]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        found["affinity"] = {"nodeAffinity": required}
    return found


def _spread(selector: Mapping[str, str], key: str) -> Object:
    """Return a constraint that keeps a release's pods apart where there is room."""
    return {
        "labelSelector": {"matchLabels": dict(selector)},
        # A Deployment's label and a Rollout's; the one that a pod has not is passed over.
        "matchLabelKeys": ["pod-template-hash", "rollouts-pod-template-hash"],
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
    }
