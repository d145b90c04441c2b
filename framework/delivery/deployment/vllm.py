"""vLLM's own server in Kubernetes, on GPUs: OpenAI's API, many requests at once.

The image is the official one. Our server's image fetches the model and checks it first. What the flags
do inside vLLM, this module does not know.
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
from framework.manifests.signals import VLLM
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
    """Our server\'s image, which fetches the model and checks it before the server starts."""
    gpus: Annotated[int, Field(ge=1)] = 1
    """NVIDIA GPUs of each replica, over which the model's layers are split."""
    requests: Amounts = Amounts(cpu="4", memory="16Gi")
    """What a pod is promised. An autoscaler's percentage is of this."""
    limits: Amounts = Amounts(cpu="8", memory="32Gi")
    """The most that a pod gets, ``shared_memory`` included."""
    temporary_space: Bytes = "20Gi"
    """Disk for ``/tmp`` in the pod, where vLLM keeps the kernels that it compiles."""
    shared_memory: Bytes = "4Gi"
    """Memory for ``/dev/shm``, through which the processes of several GPUs talk."""
    startup_seconds: Annotated[int, Field(ge=10, le=3600, multiple_of=PROBE_PERIOD)] = 600
    """Longest time that loading the model, compiling kernels and the first token may take. Fetching it is
    given as long again. A rollout that measurements judge asks for less, so that the way back is short."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of prompt and answer together; None takes the model's own."""
    max_sequences: Annotated[int, Field(ge=1)] | None = None
    """Most requests that are answered at once, more wait; None takes vLLM's own."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The weights' type; ``auto`` takes bfloat16 where the published folder has float32."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a GPU's memory that weights and cache may fill."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``vllm serve``, such as ``--enable-prefix-caching``."""

    def workload(self, release: Release, delivery: Delivery) -> Workload:
        """Return pods that fetch the model, check it and start vLLM.

        Raises:
            ReleaseError: the release's model lies where no volume can be mounted.
        """
        identity, target = self.identity(release, delivery), self.sized(delivery)
        server = target.server(release.name, delivery.serving.port)
        memory = scratch("shared-memory", self.shared_memory, medium="Memory")
        return Workload(
            identity=identity,
            pod=server_pod(target, identity, release.model_uri, server, extra_volumes=[memory]),
            files={LOCK: release.text(), FIRST_TOKEN: Path(__file__).with_name(FIRST_TOKEN).read_text()},
            service_port=self.service_port,
            start_seconds=self.start_seconds,
            signals=VLLM,
        )

    def server(self, name: str, port: int) -> Object:
        """Return vLLM's container, which answers on *port* and calls the model *name*."""
        found = container("server", self.image, self, gpus=self.gpus)
        command = ["python3", f"{CONFIG_FOLDER}/{FIRST_TOKEN}", str(port), name]
        first = {"exec": {"command": command}, "timeoutSeconds": _PROBE_SECONDS}
        found |= answering(self, port, alive="/health", ready="/health", started=first)
        found["command"] = ["vllm", "serve", MODEL]
        found["args"] = [
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
            "USER": "gitune",  # the pod's user has no name in the image, and torch asks for one
            "VLLM_CACHE_ROOT": f"{TEMPORARY_FOLDER}/vllm",
            "VLLM_NO_USAGE_STATS": "1",
        }
        found["env"] += [{"name": key, "value": value} for key, value in variables.items()]
        if self.api_key_secret is not None:
            found["env"].append({"name": "VLLM_API_KEY", "valueFrom": self.api_key_secret.manifest()})
        found["volumeMounts"].append({"mountPath": "/dev/shm", "name": "shared-memory"})
        return found
