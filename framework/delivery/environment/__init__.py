"""The base class of the environments: what differs between dev, staging and production."""

from abc import ABC
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.core.gates import Gates
from framework.core.signers import Signers
from framework.delivery.environment.promotion import EnvironmentName, Promotion
from framework.manifests.values import Amounts, Domain, ImageSource
from framework.manifests.workload_identity import WorkloadIdentity

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Manager = Annotated[str, Field(min_length=1, max_length=128)]
"""The name of a client, as an API server records it."""
FieldPath = Annotated[str, Field(pattern=r"^\.[A-Za-z][^\s]*$")]
"""A jq path to a field of an object, such as ``.spec.containers[].resources``."""

RECIPE_KEYS = (
    "hardware",
    "min_replicas",
    "max_replicas",
    "requests",
    "limits",
    "progressive",
    "sync_seconds",
    "domain",
    "gates",
    "promotion",
    "workload_identity",
)
"""What a recipe may set of its environment: about its own build and pods, or checked with the option's own
values, as ``gates`` and ``promotion`` are. All else is the option's."""
TIGHTER = {"allow_unpinned_image": False, "require_api_key": True}
"""Values that a recipe may set of other keys, since they only ask for more."""


class Hardware(Component):
    """The machine that builds; the plan's estimates and memory check use it."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Device for training and for exports that target a GPU; everything else runs on the CPU."""
    flops: Annotated[float, Field(gt=0)] = 1.5e11
    """Floating-point operations per second that training sustains, not the data sheet's peak."""
    memory_gib: Annotated[float, Field(gt=0)] = 16
    """Memory that one step can use, in GiB: the GPU's on cuda, the machine's on cpu."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price per hour, in any currency."""


class Environment(Component, ABC):
    """A place that releases are rendered for."""

    name: EnvironmentName
    """The folder below ``environments/``. It is short, so that ``<name>-<release>`` still fits a label's
    value."""
    namespace: Namespace
    """The Kubernetes namespace."""
    hardware: Hardware = Hardware()
    """The machine that plans are estimated for."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Smallest number of serving pods."""
    max_replicas: Annotated[int, Field(ge=1)] = 10
    """Largest number of serving pods that the autoscaler can start."""
    requests: Amounts | None = None
    """CPU and memory that each pod reserves here; None uses ``deployment.requests``."""
    limits: Amounts | None = None
    """The most CPU and memory that each pod can use here; None uses ``deployment.limits``."""
    progressive: bool = True
    """Whether ``rollout`` applies; false uses a rolling update, for environments without the traffic to judge
    a release by."""
    sync_seconds: Annotated[int, Field(ge=0, le=3600)] = 180
    """Longest time from a commit until Argo CD acts on it. Argo CD polls Git every 120 s, with up to 60 s of
    jitter. Set 10 where the Git host notifies it by a webhook."""
    domain: Domain | None = None
    """Domain of the releases, each at ``<release>.<domain>``; None without traffic from outside the
    cluster."""
    gates: Gates = Field(default={})
    """Bounds that a release's metrics must meet before it is promoted here: ``exact_match`` of the released
    candidate, whatever its name, or ``tuned.exact_match`` of another."""
    promotion: Promotion = Promotion()
    """What a release must do in the environment before, until it is promoted here."""
    signers: Signers = Signers()
    """Whose signature a release needs here; empty asks for none. Promotions and rollbacks sign it, pods check
    it before they serve. Those who can change this setting can change who signs: protect its file."""
    allow_unpinned_image: bool = False
    """Whether images without a digest are allowed; only sensible in dev."""
    images: tuple[ImageSource, ...] = ()
    """Images that pods may run or mount: their names, with a digest or without, or folders of a registry that
    end with ``/``. Empty allows any, also one that only seems to check what ``signers`` signed."""
    require_api_key: bool = True
    """Whether a release with a public host must ask for an API key; turn it off only in dev, or where the
    gateway authenticates."""
    workload_identity: WorkloadIdentity = WorkloadIdentity()
    """The account of the cloud that the pods act as, in place of a Secret with a static key."""
    controllers: dict[Manager, tuple[FieldPath, ...]] = Field(default={})
    """Fields that other controllers of this cluster may add to what Git sets, so that ``run status`` does not
    report them: jq paths, with what is below, by the controller's name in ``metadata.managedFields``, such as
    ``{Reloader: [.spec.template.metadata.annotations]}``."""
    network_policies: Literal["kubernetes", "cilium"] = "kubernetes"
    """Which policies the cluster's network plugin applies. ``kubernetes`` opens the model store's port at any
    address; ``cilium`` opens it at ``deployment.store_hosts`` only, by a CiliumNetworkPolicy."""
    server: Annotated[str, Field(pattern=r"^https://[^\s/]+(/[^\s]*)?$")] | None = None
    """URL of the API server of this environment's cluster, as Argo CD knows it; None takes the ``server=`` of
    ``run argocd``, by default the cluster that Argo CD runs in."""
    preserve_resources: bool = False
    """Whether pods and all other objects stay when their folder, or the ApplicationSet, is deleted; they are
    then deleted by hand."""

    @model_validator(mode="after")
    def _not_after_itself(self) -> "Environment":
        if self.promotion.after == self.name:
            raise PydanticCustomError(
                "own_predecessor", "'promotion.after' is '{name}' itself", {"name": self.name}
            )
        return self

    @model_validator(mode="after")
    def _replicas_in_order(self) -> "Environment":
        if self.min_replicas > self.max_replicas:
            raise PydanticCustomError(
                "crossed_replicas",
                "'min_replicas' ({min}) is above 'max_replicas' ({max})",
                {"min": self.min_replicas, "max": self.max_replicas},
            )
        return self
