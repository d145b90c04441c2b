"""Pod scheduling: node labels, taints, priority, spot or on-demand nodes, and the spread of replicas.

It does not know what runs in the pods.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.manifests.identity import Object
from framework.manifests.values import LabelKey, LabelValue

GPU = "nvidia.com/gpu"
"""The resource of NVIDIA's device plugin, and the usual taint of nodes with GPUs."""


class Toleration(Component):
    """A node taint that the pods tolerate."""

    key: LabelKey
    """The taint's key."""
    value: LabelValue | None = None
    """The taint's value; None means any."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"
    """The taint's effect; None means all."""

    def manifest(self) -> Object:
        """Return the toleration as an entry of a pod's spec."""
        toleration: Object = {"key": self.key, "operator": "Exists" if self.value is None else "Equal"}
        if self.value is not None:
            toleration["value"] = self.value
        if self.effect is not None:
            toleration["effect"] = self.effect
        return toleration


class Capacity(Component):
    """Whether pods run on spot nodes, which the cloud can reclaim at any time, or on on-demand nodes."""

    kind: Literal["any", "on-demand", "spot", "mixed"] = "any"
    """``any`` leaves the choice to the cluster. ``on-demand`` and ``spot`` require such nodes. ``mixed``
    spreads replicas over both, so that reclaiming spot nodes never removes all of them."""
    label: LabelKey = "karpenter.sh/capacity-type"
    """The node label that holds the capacity type. Other platforms use
    ``cloud.google.com/gke-provisioning`` or ``eks.amazonaws.com/capacityType``."""
    on_demand: LabelValue = "on-demand"
    """The label's value on on-demand nodes."""
    spot: LabelValue = "spot"
    """The label's value on spot nodes. A taint with the same key and value is tolerated."""

    @model_validator(mode="after")
    def _values_differ(self) -> "Capacity":
        if self.on_demand == self.spot:
            raise PydanticCustomError("equal_capacity", "'on_demand' and 'spot' must differ")
        return self

    def node_kinds(self) -> tuple[str, ...]:
        """Return the label's values of the nodes that are allowed; empty allows every node."""
        values = {"on-demand": (self.on_demand,), "spot": (self.spot,), "mixed": (self.on_demand, self.spot)}
        return values.get(self.kind, ())


def placement(
    selector: Mapping[str, str],
    *,
    node_selector: Mapping[str, str],
    tolerations: Iterable[Toleration],
    priority_class: str | None,
    capacity: Capacity,
    gpus: bool,
    spread: bool,
) -> Object:
    """Return the fields of a pod's spec that decide where it runs.

    Args:
        selector: labels that match the pod's replicas.
        node_selector: labels that a node must have.
        tolerations: taints that the pod tolerates.
        priority_class: the PriorityClass; None uses the cluster's default.
        capacity: spot or on-demand nodes.
        gpus: whether the pod requests GPUs; most clusters taint the nodes that have them.
        spread: whether replicas are spread over zones and nodes.
    """
    node_kinds = capacity.node_kinds()
    tolerated = list(tolerations)
    if capacity.spot in node_kinds:
        tolerated.append(Toleration(key=capacity.label, value=capacity.spot))
    if gpus:
        tolerated.append(Toleration(key=GPU))
    fields: Object = {}
    if spread:
        keys = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        keys += [capacity.label] if capacity.kind == "mixed" else []
        fields["topologySpreadConstraints"] = [_spread(selector, key) for key in keys]
    if tolerated:
        fields["tolerations"] = [toleration.manifest() for toleration in dict.fromkeys(tolerated)]
    if node_selector:
        fields["nodeSelector"] = dict(node_selector)
    if priority_class is not None:
        fields["priorityClassName"] = priority_class
    if node_kinds:
        terms = [
            {"matchExpressions": [{"key": capacity.label, "operator": "In", "values": list(node_kinds)}]}
        ]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        fields["affinity"] = {"nodeAffinity": required}
    return fields


def _spread(selector: Mapping[str, str], key: str) -> Object:
    """Return a soft constraint that spreads a release's pods over the values of the node label *key*."""
    return {
        "labelSelector": {"matchLabels": dict(selector)},
        # A Deployment sets the first label and a Rollout the second; a label that a pod lacks is ignored.
        "matchLabelKeys": ["pod-template-hash", "rollouts-pod-template-hash"],
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
    }
