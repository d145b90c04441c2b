"""NVIDIA Triton in Kubernetes: classifiers as ONNX graphs or TensorRT engines, with dynamic batching.

Our own image fetches the model, verifies it and writes Triton's model repository. Clients send tokens, not
text: ``input_ids`` and ``attention_mask``. They get ``logits``.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.errors import ReleaseError
from framework.core.problem import Problem
from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.server_pod import MODEL_FOLDER, answering, container, server_pod
from framework.manifests.identity import Object
from framework.manifests.pod import scratch
from framework.manifests.server_signals import TRITON
from framework.manifests.values import Image, Port
from framework.manifests.workload import Workload
from framework.serving import Serving
from framework.serving.triton_repository import DESCRIPTION

REPOSITORY = f"{MODEL_FOLDER}/repository"
"""Triton's model repository in the pod."""
_BACKENDS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt"}
_INPUTS = ("input_ids", "attention_mask")


class Triton(ClusterDeployment):
    """Pods of Triton."""

    engines: ClassVar[tuple[str, ...]] = tuple(_BACKENDS)
    tasks: ClassVar[tuple[str, ...]] = (
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
    )
    libraries: ClassVar[Mapping[str, str]] = {"tensorrt": "tensorrt"}
    has_api_keys: ClassVar[bool] = False
    batches: ClassVar[bool] = True
    remedy: ClassVar[str] = "export=onnx"

    image: Image = "nvcr.io/nvidia/tritonserver:26.08-py3"
    """Triton's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``. A TensorRT engine opens
    only with the version of TensorRT that built it."""
    fetch_image: Image = "gitune/server:0.1.0"
    """Our own server's image, which fetches and verifies the model before Triton starts."""
    grpc_port: Port = 8001
    """Port of the gRPC inference protocol, in the pods and on the Service."""
    metrics_port: Port = 8002
    """Port of the metrics, in the pods and on the Service."""
    instances: Annotated[int, Field(ge=1)] = 1
    """Model instances that run in parallel in each pod, per GPU where there are any."""
    warmup_tokens: Annotated[int, Field(ge=1)] = 16
    """Tokens of the warmup request that Triton runs before it reports ready."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that fetch the model, verify it, write the model repository and start Triton.

        Raises:
            ReleaseError: no volume can be mounted for the release's model.
        """
        identity, target = self.identity(release, delivery), self.sized(delivery, release)
        volumes, mounts = [], []
        if self.model_image is not None:  # an image volume is read-only
            volumes = [scratch("repository", target.space)]
            mounts = [{"mountPath": REPOSITORY, "name": "repository"}]
        pod = server_pod(
            target,
            identity,
            release.model_uri,
            target.server(delivery.serving.port),
            fetch_flags=("--triton-repository", REPOSITORY),
            fetch_mounts=mounts,
            extra_volumes=volumes,
        )
        return Workload(
            identity=identity,
            pod=pod,
            files={LOCK: release.served().text(), DESCRIPTION: self.description(release, delivery.serving)},
            service_port=self.service_port,
            start_seconds=self.start_seconds,
            signals=TRITON,
            ports={"grpc": self.grpc_port, "metrics": self.metrics_port},
        )

    def server(self, port: int) -> Object:
        """Return Triton's container, which serves HTTP on *port*."""
        server = container("server", self.image, self, gpus=self.gpus)
        server |= answering(self, port, alive="/v2/health/live", ready="/v2/health/ready")
        for name, number in (("grpc", self.grpc_port), ("metrics", self.metrics_port)):
            server["ports"].append({"containerPort": number, "name": name, "protocol": "TCP"})
        server["command"] = ["tritonserver"]
        server["args"] = [
            f"--model-repository={REPOSITORY}",
            f"--http-port={port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            "--metrics-config=summary_latencies=true",
            f"--exit-timeout-secs={self.grace_seconds}",
        ]
        if self.model_image is not None:
            mount = {"mountPath": REPOSITORY, "name": "repository", "readOnly": True}
            server["volumeMounts"].append(mount)
        return server

    def description(self, release: Release, serving: Serving) -> str:
        """Return the model's ``config.pbtxt``; Triton reads inputs and outputs from the model."""
        kind = "KIND_GPU" if self.gpus else "KIND_CPU"
        zeros = f"data_type: TYPE_INT64 dims: [ {self.warmup_tokens} ] zero_data: true"
        inputs = "\n".join(f'    inputs {{ key: "{name}" value {{ {zeros} }} }}' for name in _INPUTS)
        return f"""name: "{release.name}"
backend: "{_BACKENDS[release.engine]}"
max_batch_size: {serving.max_batch_size}
dynamic_batching {{
  max_queue_delay_microseconds: {round(serving.batch_timeout * 1_000_000)}
}}
instance_group [
  {{ count: {self.instances} kind: {kind} }}
]
model_warmup [
  {{
    name: "first-answer"
    batch_size: 1
{inputs}
  }}
]
"""

    @property
    def warmup_row(self) -> int:
        """The row of ``warmup_tokens``."""
        return self.warmup_tokens

    def problems(self, delivery: Delivery) -> list[Problem]:
        """Return an API key, which Triton would not ask for; see the base class."""
        problems = super().problems(delivery)
        if self.api_key_secret is not None:
            reason = "Triton has no API keys and would answer every request"
            advice = "restrict callers by deployment.ingress_from"
            problems.append(
                Problem("deployment.api_key_secret", reason, ("deployment.api_key_secret=null",), advice)
            )
        return problems

    def refuse(self, release: Release) -> None:
        """Raise unless these pods can run *release*; see the base class."""
        super().refuse(release)
        if release.engine == "tensorrt" and not self.gpus:
            problem = Problem(f"{LOCK}: engine", "tensorrt needs a GPU", ("deployment.gpus=1",))
            raise ReleaseError(problems=[problem])
