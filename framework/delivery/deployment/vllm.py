"""vLLM's server in Kubernetes, on GPUs, with OpenAI's API.

The server's image is vLLM's official one. Our own image fetches and verifies the model first.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.core.release import LOCK, Release
from framework.delivery.deployment import Delivery
from framework.delivery.deployment.cluster_deployment import ClusterDeployment
from framework.delivery.deployment.server_pod import MODEL, PROBE_PERIOD, answering, container, server_pod
from framework.manifests.identity import Object
from framework.manifests.pod import CONFIG_FOLDER, TEMPORARY_FOLDER, scratch
from framework.manifests.server_signals import VLLM
from framework.manifests.values import Amounts, Bytes, Image
from framework.manifests.workload import Workload

FIRST_TOKEN = "first_token.py"
"""The ConfigMap's file that the startup probe runs."""
_PROBE_SECONDS = 30


class Vllm(ClusterDeployment):
    """Pods of vLLM."""

    engines: ClassVar[tuple[str, ...]] = ("torch",)
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    takes_adapters: ClassVar[bool] = False
    remedy: ClassVar[str] = "export=transformers compression=none"

    image: Image = "vllm/vllm-openai:v0.30.0"
    """vLLM's image; outside dev it must be pinned, ``…@sha256:<64 hex digits>``."""
    fetch_image: Image = "gitune/server:0.1.0"
    """Our own server's image, which fetches and verifies the model before vLLM starts."""
    gpus: Annotated[int, Field(ge=1)] = 1
    """NVIDIA GPUs of each replica. Tensor parallelism splits the weights of every layer over them."""
    requests: Amounts = Amounts(cpu="4", memory="16Gi")
    """CPU and memory that each pod reserves. Autoscalers compute CPU use relative to this."""
    limits: Amounts = Amounts(cpu="8", memory="32Gi")
    """The most CPU and memory that each pod can use, including ``shared_memory``."""
    temporary_space: Bytes = "20Gi"
    """Size limit of ``/tmp``, on disk, where vLLM caches compiled kernels."""
    shared_memory: Bytes = "4Gi"
    """Size limit of ``/dev/shm``, which the processes of several GPUs share data through."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600, multiple_of=PROBE_PERIOD)] = 600
    """Longest time to load the model, compile kernels and generate the first token. Fetching the model is
    allowed the same time again. Judged rollouts need a lower value, so that a rollback stays short."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Largest number of tokens of prompt and answer together; None uses the model's own limit."""
    max_sequences: Annotated[int, Field(ge=1)] | None = None
    """Largest number of requests in a batch; more wait. None uses vLLM's default."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Data type of the weights; ``auto`` uses bfloat16 where the published folder has float32."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of each GPU's memory for weights and KV cache."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``vllm serve``, such as ``--enable-prefix-caching``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return the pods that fetch the model, verify it and start vLLM.

        Raises:
            ReleaseError: no volume can be mounted for the release's model.
        """
        identity, target = self.identity(release, delivery), self.sized(delivery, release)
        server = target.server(release.name, delivery.serving.port)
        memory = scratch("shared-memory", self.shared_memory, medium="Memory")
        return Workload(
            identity=identity,
            pod=server_pod(target, identity, release.model_uri, server, extra_volumes=[memory]),
            files={
                LOCK: release.served().text(),
                FIRST_TOKEN: Path(__file__).with_name(FIRST_TOKEN).read_text(),
            },
            service_port=self.service_port,
            start_seconds=self.start_seconds,
            signals=VLLM,
        )

    def server(self, name: str, port: int) -> Object:
        """Return vLLM's container, which serves the model as *name* on *port*."""
        server = container("server", self.image, self, gpus=self.gpus)
        command = ["python3", f"{CONFIG_FOLDER}/{FIRST_TOKEN}", str(port), name]
        first_token = {"exec": {"command": command}, "timeoutSeconds": _PROBE_SECONDS}
        server |= answering(self, port, alive="/health", ready="/health", started=first_token)
        server["command"] = ["vllm", "serve", MODEL]
        server["args"] = [
            f"--served-model-name={name}",
            "--host=0.0.0.0",
            f"--port={port}",
            f"--tensor-parallel-size={self.gpus}",
            f"--dtype={self.dtype}",
            f"--gpu-memory-utilization={self.gpu_memory_utilization:g}",
            *([f"--max-model-len={self.max_length}"] if self.max_length else []),
            *([f"--max-num-seqs={self.max_sequences}"] if self.max_sequences else []),
            *self.arguments,
        ]
        variables = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "USER": "gitune",  # the pod's user has no name in the image, and torch looks it up
            "VLLM_CACHE_ROOT": f"{TEMPORARY_FOLDER}/vllm",
            "VLLM_NO_USAGE_STATS": "1",
        }
        server["env"] += [{"name": key, "value": value} for key, value in variables.items()]
        if self.api_key_secret is not None:
            server["env"].append({"name": "VLLM_API_KEY", "valueFrom": self.api_key_secret.manifest()})
        server["volumeMounts"].append({"mountPath": "/dev/shm", "name": "shared-memory"})
        return server
