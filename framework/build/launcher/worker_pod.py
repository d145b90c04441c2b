"""The pod of a training job: it runs the worker's command on a store that outlives the job.

It does not know which kind of object creates the pod, nor how many there are.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from framework.build.launcher import Work
from framework.core.machine_rank import MESSAGE, RUN
from framework.manifests.egress import dns_egress
from framework.manifests.identity import Identity, Object
from framework.manifests.pod import (
    CONFIG_FOLDER,
    WORKING_FOLDER,
    PodSettings,
    mounts,
    restricted_container,
    restricted_pod,
    scratch,
    volumes,
)
from framework.manifests.values import Amounts, Bytes, Image, LabelKey, ObjectName

CONTAINER = "node"
"""Name of the container and of the group of pods; Kubeflow Trainer requires it."""
JOB = "job.json"
"""The ConfigMap's file."""
STORE = "/gitune/store"
"""The artifacts' store, on the volume that all pods of a job share."""
COMMAND = ("python", "-m", "framework.worker", f"{CONFIG_FOLDER}/{JOB}")

_SHARED = "/gitune"
_SPARE_SECONDS = 30
"""Seconds besides training's own time to save, until a stopping pod is killed."""
_FAULTS = [1, 2]
"""Exit codes that the worker chooses: a retry would fail for the same reason."""


class WorkerSettings(PodSettings):
    """Settings of a worker's pod: image, volumes, secret and retries."""

    image: Image = "gitune/trainer:0.1.0"
    """The worker's image, with the same version of the framework and its libraries; pin it by digest."""
    requests: Amounts = Amounts(cpu="4", memory="16Gi")
    """CPU and memory that each machine reserves."""
    limits: Amounts = Amounts(cpu="8", memory="32Gi")
    """The most CPU and memory that each machine can use."""
    temporary_space: Bytes = "20Gi"
    """Size limit of ``/tmp``, on disk."""
    shared_memory: Bytes = "2Gi"
    """Size limit of ``/dev/shm``, which a machine's processes share data through; counts toward the memory
    limit."""
    store_claim: ObjectName = "gitune-store"
    """The PersistentVolumeClaim of the store and its checkpoints; several machines need ReadWriteMany."""
    service_account: ObjectName = "gitune-trainer"
    """The pods' ServiceAccount; its token is not mounted."""
    secret: ObjectName | None = None
    """The Secret with the credentials of model store, hub and tracking server; its keys become environment
    variables."""
    topology: LabelKey | None = "topology.kubernetes.io/zone"
    """Node label whose value the machines of a job should share, preferred but not required; None for no
    preference."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """How often failed pods are replaced; each resumes from the last checkpoint. Pods lost with a spot node
    do not count. An error that would repeat ends the job at once."""


def worker_pod(settings: WorkerSettings, work: Work, identity: Identity, environment: list[Object]) -> Object:
    """Return the spec of the pods that build *work*.

    Args:
        settings: image, resources and scheduling.
        work: what is built.
        identity: the job's name and labels.
        environment: environment variables besides those of every job.
    """
    store = {"name": "store", "persistentVolumeClaim": {"claimName": settings.store_claim}}
    pod = restricted_pod(
        settings,
        identity,
        [_container(settings, work, environment)],
        service_account=settings.service_account,
        grace_seconds=math.ceil(work.saving_seconds) + _SPARE_SECONDS,
        volumes=[
            *volumes(identity, settings, store),
            scratch("shm", settings.shared_memory, medium="Memory"),
        ],
        spread=False,  # replicas of a server are kept apart; the machines of a job belong close together
    )
    pod["restartPolicy"] = "Never"
    if work.machines > 1 and settings.topology is not None:
        pod.setdefault("affinity", {})["podAffinity"] = _near(identity, settings.topology)
    return pod


def resources(settings: WorkerSettings, work: Work) -> Object:
    """Return the requests and limits of one machine."""
    return settings.resources(work.processes if work.gpus else 0)


def _container(settings: WorkerSettings, work: Work, environment: list[Object]) -> Object:
    """Return the worker's container."""
    job_uid: Object = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    container = restricted_container(
        CONTAINER,
        settings.image,
        resources(settings, work),
        [
            *mounts({"mountPath": _SHARED, "name": "store"}),
            {"mountPath": "/dev/shm", "name": "shm"},
            # Files that options write below the working folder, such as curves, are kept with the store.
            {"mountPath": f"{WORKING_FOLDER}/.gitune", "name": "store", "subPath": "runs"},
        ],
    )
    variables: list[Object] = [
        *container["env"],
        {"name": "GITUNE_CACHE", "value": f"{_SHARED}/cache"},
        {"name": MESSAGE, "value": "/dev/termination-log"},
        {"name": RUN, "valueFrom": job_uid},
        {"name": "PYTHONUNBUFFERED", "value": "1"},
        *environment,
    ]
    container |= {
        "command": list(COMMAND),
        "env": sorted(variables, key=lambda variable: str(variable["name"])),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "workingDir": WORKING_FOLDER,
    }
    if settings.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": settings.secret}}]
    return container


def job_spec(settings: WorkerSettings, template: Object) -> Object:
    """Return a Kubernetes Job's spec for the pods of *template*, without their number.

    A pod that is evicted, as from a spot node, is replaced and not counted. A pod that exits with an error
    of the worker's own ends the job. Any other failure counts toward ``max_restarts``.
    """
    spec: Object = {
        "backoffLimit": settings.max_restarts,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"status": "True", "type": "DisruptionTarget"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": _FAULTS},
                },
            ]
        },
        "template": template,
    }
    return spec


def _near(identity: Identity, topology: str) -> Object:
    """Return a soft affinity that schedules the pods of one job in the same *topology*."""
    term = {"labelSelector": {"matchLabels": dict(identity.selector)}, "topologyKey": topology}
    preference = {"podAffinityTerm": term, "weight": 100}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}


def network_policy(identity: Identity, ports: Sequence[int]) -> Object:
    """Return a policy that allows traffic within the job and to TCP *ports* outside, and denies the rest."""
    own = [{"podSelector": {"matchLabels": dict(identity.selector)}}]
    outward = [{"port": port, "protocol": "TCP"} for port in ports]
    spec = {
        "egress": [dns_egress(), {"to": own}, *([{"ports": outward}] if outward else [])],
        "ingress": [{"from": own}],
        "podSelector": {"matchLabels": dict(identity.selector)},
        "policyTypes": ["Ingress", "Egress"],
    }
    return identity.object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)
