"""The pod that works on a job: the worker's own command, a store that outlives it, and nothing else.

It meets the Pod Security level ``restricted``. Which kind of object starts it, and how often, this
module does not know.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework.build.launcher import Work
from framework.core.machine_rank import COMMIT, MESSAGE, RUN
from framework.manifests.identity import Identity, Object
from framework.manifests.objects import name_lookups
from framework.manifests.scheduling import GPU, placement

if TYPE_CHECKING:
    from framework.build.launcher.cluster_launcher import ClusterLauncher

CONTAINER = "node"
"""The container, and the group of pods: Kubeflow Trainer's own word for them."""
JOB = "job.json"
"""The ConfigMap's file."""
STORE = "/gitune/store"
"""The artifacts' store, on the volume that all pods of a job share."""
COMMAND = ("python", "-m", "framework.worker", f"/etc/gitune/{JOB}")

_SHARED = "/gitune"
_WORKING_FOLDER = "/srv"
_USER = 10001
_SPARE_SECONDS = 30
"""Seconds besides what training needs to save, until a pod that is told to stop is killed."""
_FAULTS = [1, 2]
"""What the worker ends with by itself: a reason that would only come again."""


def resources(launcher: "ClusterLauncher", work: Work) -> Object:
    """Return what one machine asks for, and the most that it gets."""
    gpu = {GPU: str(work.processes)} if work.gpus else {}
    return {
        "limits": {**launcher.limits.model_dump(), **gpu},
        "requests": {**launcher.requests.model_dump(), **gpu},
    }


def worker_pod(
    launcher: "ClusterLauncher", work: Work, identity: Identity, environment: list[Object]
) -> Object:
    """Return the spec of the pods that work on *work*.

    Args:
        launcher: image, sizes and places.
        work: what is built.
        identity: whose pods they are.
        environment: variables besides those that every job has.
    """
    spec: Object = {
        "automountServiceAccountToken": False,
        "containers": [_container(launcher, work, environment)],
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": _USER,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": launcher.service_account,
        "terminationGracePeriodSeconds": math.ceil(work.saving_seconds) + _SPARE_SECONDS,
        "volumes": [
            {"configMap": {"name": identity.name}, "name": "config"},
            {"name": "store", "persistentVolumeClaim": {"claimName": launcher.store_claim}},
            {"emptyDir": {"sizeLimit": launcher.temporary_space}, "name": "tmp"},
            {"emptyDir": {"medium": "Memory", "sizeLimit": launcher.shared_memory}, "name": "shm"},
        ],
        **_place(launcher, work, identity),
    }
    if work.machines > 1 and launcher.topology is not None:
        spec.setdefault("affinity", {})["podAffinity"] = _near(identity, launcher.topology)
    return spec


def _container(launcher: "ClusterLauncher", work: Work, environment: list[Object]) -> Object:
    """Return the worker's container."""
    here: Object = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    variables: list[Object] = [
        {"name": "GITUNE_CACHE", "value": f"{_SHARED}/cache"},
        {"name": MESSAGE, "value": "/dev/termination-log"},
        {"name": RUN, "valueFrom": here},
        {"name": "HOME", "value": "/tmp"},  # libraries cache there; the root is read-only
        {"name": "PYTHONUNBUFFERED", "value": "1"},
        *environment,
    ]
    if work.commit is not None:
        variables.append({"name": COMMIT, "value": work.commit})
    container: Object = {
        "command": list(COMMAND),
        "env": sorted(variables, key=lambda variable: str(variable["name"])),
        "image": launcher.image,
        "imagePullPolicy": "IfNotPresent",
        "name": CONTAINER,
        "resources": resources(launcher, work),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"mountPath": "/etc/gitune", "name": "config", "readOnly": True},
            {"mountPath": _SHARED, "name": "store"},
            {"mountPath": "/tmp", "name": "tmp"},
            {"mountPath": "/dev/shm", "name": "shm"},
            # What options write below the working folder, such as curves, stays with the store.
            {"mountPath": f"{_WORKING_FOLDER}/.gitune", "name": "store", "subPath": "runs"},
        ],
        "workingDir": _WORKING_FOLDER,
    }
    if launcher.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": launcher.secret}}]
    return container


def job_spec(launcher: "ClusterLauncher", template: Object) -> Object:
    """Return what Kubernetes' own Job does with the pods of *template*, but for their number.

    A pod that is taken away, as from a spot machine, is replaced and not counted; one that ends with a
    reason of the worker's own ends the job; any other end counts up to ``max_restarts``.
    """
    spec: Object = {
        "backoffLimit": launcher.max_restarts,
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


def _place(launcher: "ClusterLauncher", work: Work, identity: Identity) -> Object:
    """Return where the pods may run."""
    found = placement(
        identity.selector,
        node_selector=launcher.node_selector,
        tolerations=launcher.tolerations,
        priority_class=launcher.priority_class,
        capacity=launcher.capacity,
        gpus=work.processes if work.gpus else 0,
    )
    del found["topologySpreadConstraints"]  # replicas should be apart; the machines of a job, near
    return found


def _near(identity: Identity, topology: str) -> Object:
    """Return an affinity that brings the pods of one job close to each other, where there is room."""
    term = {"labelSelector": {"matchLabels": dict(identity.selector)}, "topologyKey": topology}
    wish = {"podAffinityTerm": term, "weight": 100}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}


def network_policy(identity: Identity, ports: Sequence[int]) -> Object:
    """Return a policy that denies all traffic but the job's own, and to the listed TCP ports outside."""
    own = [{"podSelector": {"matchLabels": dict(identity.selector)}}]
    outward = [{"port": port, "protocol": "TCP"} for port in ports]
    spec = {
        "egress": [name_lookups(), {"to": own}, *([{"ports": outward}] if outward else [])],
        "ingress": [{"from": own}],
        "podSelector": {"matchLabels": dict(identity.selector)},
        "policyTypes": ["Ingress", "Egress"],
    }
    return identity.object("networking.k8s.io/v1", "NetworkPolicy", spec=spec)
