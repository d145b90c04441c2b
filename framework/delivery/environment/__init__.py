"""The base of every environment: what differs between dev, staging and production."""

from abc import ABC
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.core.gates import Gates
from framework.manifests.values import Amounts, Domain

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Hardware(Component):
    """The machine that builds, for the plan's estimates and its check that a step fits."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where training runs, and an export that is made for a GPU; everything else runs on the CPU."""
    flops: Annotated[float, Field(gt=0)] = 1.5e11
    """Floating-point operations per second that training really reaches, not the data sheet's peak."""
    memory_gib: Annotated[float, Field(gt=0)] = 16
    """Memory that one step may use, in GiB: the GPU's on cuda, the machine's on cpu."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """What an hour of it costs, in the currency of your bills."""


class Environment(Component, ABC):
    """One place that releases are rendered for."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$")]
    """The folder below ``environments/``; short, so that with a release's name and a dash it is still
    a label's value."""
    namespace: Namespace
    """The Kubernetes namespace."""
    hardware: Hardware = Hardware()
    """What plans are estimated for."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Least number of serving pods."""
    max_replicas: Annotated[int, Field(ge=1)] = 10
    """Most serving pods that the autoscaler may start."""
    requests: Amounts | None = None
    """What a pod is promised here; None takes ``deployment.requests``."""
    limits: Amounts | None = None
    """The most that a pod gets here; None takes ``deployment.limits``."""
    progressive: bool = True
    """Whether a new release arrives as ``rollout`` says; false replaces pods in one go, where there is no
    traffic to judge a release by."""
    sync_seconds: Annotated[int, Field(ge=0, le=3600)] = 180
    """Longest time from a commit until Argo CD acts on it. It asks Git every 120 s, and up to 60 s later so
    that not all applications ask at once; 10 is enough where the Git host tells it by a webhook."""
    domain: Domain | None = None
    """The domain that releases are reached below, as ``<release>.<domain>``; None where nothing outside
    the cluster asks."""
    gates: Gates = Field(default={})
    """Bounds that a release's recorded metrics must meet before it is promoted here."""
    allow_unpinned_image: bool = False
    """Whether a server image without a digest may be rendered; only sensible in dev."""

    @model_validator(mode="after")
    def _replicas_in_order(self) -> "Environment":
        if self.min_replicas > self.max_replicas:
            raise PydanticCustomError(
                "crossed_replicas",
                "'min_replicas' ({min}) is above 'max_replicas' ({max})",
                {"min": self.min_replicas, "max": self.max_replicas},
            )
        return self
