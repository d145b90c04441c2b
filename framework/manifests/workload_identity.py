"""Workload identity: a ServiceAccount stands for an account of the cloud, so that pods need no static key.

The cloud's own component in the cluster exchanges the ServiceAccount's token. It is no part of the pod.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.manifests.egress import Egress
from framework.manifests.values import like

_HTTPS = 443


class WorkloadIdentity(Component):
    """The account of the cloud that the pods act as; at most one."""

    aws_role_arn: (
        Annotated[
            str,
            AfterValidator(
                like(
                    r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
                    "a role such as 'arn:aws:iam::<account>:role/<name>'",
                )
            ),
        ]
        | None
    ) = None
    """EKS: the IAM role, whose trust policy names the ServiceAccount ``<namespace>:<release>``."""
    gcp_service_account: (
        Annotated[
            str,
            AfterValidator(
                like(
                    r"[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z0-9.:-]+\.iam\.gserviceaccount\.com",
                    "an account such as '<name>@<project>.iam.gserviceaccount.com'",
                )
            ),
        ]
        | None
    ) = None
    """GKE: the service account that grants ``roles/iam.workloadIdentityUser`` to the ServiceAccount."""
    azure_client_id: (
        Annotated[
            str, AfterValidator(like(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a client ID, a UUID"))
        ]
        | None
    ) = None
    """Azure: the client ID of the managed identity, with a federated credential for the ServiceAccount."""

    @model_validator(mode="after")
    def _at_most_one(self) -> "WorkloadIdentity":
        chosen = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(chosen) > 1:
            raise PydanticCustomError(
                "several_identities",
                "set one of {keys}, since a pod runs in one cloud",
                {"keys": str(chosen)},
            )
        return self

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of the ServiceAccount."""
        values = {
            "eks.amazonaws.com/role-arn": self.aws_role_arn,
            "iam.gke.io/gcp-service-account": self.gcp_service_account,
            "azure.workload.identity/client-id": self.azure_client_id,
        }
        return {key: value for key, value in values.items() if value is not None}

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels that the pods need."""
        return {} if self.azure_client_id is None else {"azure.workload.identity/use": "true"}

    def egress(self) -> list[Egress]:
        """Return where a pod gets its credentials."""
        if self.gcp_service_account is not None:  # the metadata server, with and without Dataplane V2
            return [Egress(80, cidr="169.254.169.254/32"), Egress(988, cidr="169.254.169.252/32")]
        if self.aws_role_arn is not None:
            return [Egress(_HTTPS, ("sts.amazonaws.com", "sts.*.amazonaws.com"))]
        return [Egress(_HTTPS, ("login.microsoftonline.com",))] if self.azure_client_id is not None else []
