"""The check of a release's approval in its pods, in environments that name their signers.

The init container that fetches the model checks the lock's signature first. The accepted signers come from a
ConfigMap that is no part of the release's folder: those who can write the folder cannot exchange them.
"""

from collections.abc import Sequence

from framework.core.errors import ReleaseError
from framework.manifests.identity import APPROVAL, DIGEST, Object

SIGNERS = "gitune-signers"
"""Name of the ConfigMap with an environment's signers; ``run argocd`` writes it."""
SIGNERS_FILE = "signers.json"
"""The ConfigMap's file."""
SIGNERS_FOLDER = "/etc/gitune-signers"
"""Mount path of the ConfigMap."""
VOLUME = "signers"
"""Name of the ConfigMap's volume in the pod."""
ANNOTATIONS = {"GITUNE_APPROVAL": APPROVAL, "GITUNE_DIGEST": DIGEST}
"""Variables of the init container, and the pod's annotations that they have the values of."""
COMMAND = ("python", "-I", "-m", "framework.server")
"""The init container's command. ``-I``: neither its variables nor mounted folders can add Python modules."""


def with_approval_check(pod: Object, environment: str) -> Object:
    """Return *pod*, whose init container checks the approval for *environment* before all else.

    Raises:
        ReleaseError: it has no single init container that runs ``framework.server``.
    """
    containers: list[Object] = list(pod.get("initContainers", ()))
    rendered = [word for word in COMMAND if word != "-I"]
    if [container.get("command") for container in containers] != [rendered]:
        raise ReleaseError(
            "deployment: environment.signers is set, and this target's pods have no init container that runs "
            "framework.server; build them with server_pod, or set environment.signers={}"
        )
    mount = {"mountPath": SIGNERS_FOLDER, "name": VOLUME, "readOnly": True}
    (container,) = containers
    check = {
        **container,
        "args": approval_arguments(container["args"], environment),
        "command": list(COMMAND),
        "env": [*container["env"], *map(_variable, ANNOTATIONS)],
        "volumeMounts": [*container["volumeMounts"], mount],
    }
    volume = {"configMap": {"name": SIGNERS}, "name": VOLUME}
    return {**pod, "initContainers": [check], "volumes": [*pod["volumes"], volume]}


def approval_arguments(arguments: Sequence[str], environment: str) -> list[str]:
    """Return *arguments* of ``framework.server`` with those that check the approval for *environment*."""
    flags = signer_arguments(environment)
    return [*arguments, *flags, "--approval", "$(GITUNE_APPROVAL)", "--digest", "$(GITUNE_DIGEST)"]


def signer_arguments(environment: str) -> tuple[str, ...]:
    """Return the arguments that name the accepted signers and the *environment* to be signed for."""
    return ("--signers", f"{SIGNERS_FOLDER}/{SIGNERS_FILE}", "--environment", environment)


def field_path(annotation: str) -> str:
    """Return where the downward API finds *annotation* of a pod."""
    return f"metadata.annotations['{annotation}']"


def _variable(name: str) -> Object:
    source = {"apiVersion": "v1", "fieldPath": field_path(ANNOTATIONS[name])}
    return {"name": name, "valueFrom": {"fieldRef": source}}
