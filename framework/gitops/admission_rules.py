"""The rules in CEL by which a cluster admits objects to an environment that names its signers.

CEL cannot check a signature. So the rules admit only pods whose init container checks it, exactly as it is
rendered. They refuse an approval with a lower number than that in the cluster, and that Argo CD changes the
signers. They do not know what evaluates them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.delivery.deployment.approved_pod import (
    ANNOTATIONS,
    COMMAND,
    SIGNERS,
    SIGNERS_FOLDER,
    VOLUME,
    approval_arguments,
    field_path,
)
from framework.delivery.deployment.server_pod import MODEL, MODEL_FOLDER, server_command
from framework.delivery.deployment.triton import REPOSITORY
from framework.delivery.environment import Environment
from framework.gitops.managed_fields import KINDS
from framework.gitops.setup_object import Object
from framework.manifests.identity import APPROVAL, DIGEST
from framework.manifests.pod import CONFIG_FOLDER, TEMPORARY_FOLDER
from framework.manifests.values import image_pattern

_MOUNTS = (
    ("config", CONFIG_FOLDER),
    ("model", MODEL_FOLDER),
    ("model", MODEL),
    ("repository", REPOSITORY),
    (VOLUME, SIGNERS_FOLDER),
    ("tmp", TEMPORARY_FOLDER),
)
_IDENTITY_MOUNTS = "/var/run/secrets/"
_IDENTITY_VARIABLES = (
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_DEFAULT_REGION"),
    *("AWS_REGION", "AWS_ROLE_ARN", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID"),
)
"""What the webhooks of workload identity add to every container, and where they mount a token."""
_SYSTEM_FOLDERS = "^/(bin|boot|dev|etc|lib|lib64|models|opt|proc|root|run|sbin|sys|tmp|usr|var)(/|$)"
"""Where a mounted store could replace the image's own files."""
_TRACKING = "argocd.argoproj.io/tracking-id"
_SYNCERS = ("system:serviceaccount:{argocd}:argocd-application-controller",)
_REMOTE_SYNCER = "system:serviceaccount:kube-system:argocd-manager"
"""The account that ``argocd cluster add`` makes in a cluster other than Argo CD's own."""
_CHECK_NAMES = ("check-model", "fetch-model")
_SIGN = "render the release with `run promote` or `run rollback`, which sign its lock"


@dataclass(frozen=True)
class Policy:
    """Rules in CEL about some kinds of objects."""

    name: str
    """The end of its name."""
    resources: Sequence[Mapping[str, object]]
    """Which requests it is about: the fields of ``resourceRules``."""
    rules: Mapping[str, str]
    """What the object must fulfill, by the message for one that does not."""
    variables: Mapping[str, str]
    """Expressions by name, for the rules."""
    condition: str = ""
    """Which of these requests it is about; empty for all."""

    def spec(self) -> Object:
        """Return what is the same in both engines."""
        conditions = [{"expression": self.condition, "name": "changes"}] if self.condition else []
        return {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [dict(rule) for rule in self.resources]},
            **({"matchConditions": conditions} if conditions else {}),
            **(
                {"variables": [{"expression": text, "name": key} for key, text in self.variables.items()]}
                if self.variables
                else {}
            ),
            "validations": [{"expression": text, "message": message} for message, text in self.rules.items()],
        }


def policies(environment: Environment, argocd: str) -> list[Policy]:
    """Return the policies of the namespace of *environment*.

    Args:
        environment: an environment that names its signers.
        argocd: the namespace of Argo CD.
    """
    return [_pods(environment), _approvals(), _signers(argocd)]


def _pods(environment: Environment) -> Policy:
    """Return the policy that admits only pods whose init container checks the approval."""
    arguments = [approval_arguments(one, environment.name) for one in _check_arguments()]
    again = "render the release again"
    check = (
        f"c.name in {_cel(_CHECK_NAMES)} && !has(c.restartPolicy) && has(c.command) && "
        f"c.command == {_cel(COMMAND)} && has(c.args) && c.args in {_cel(arguments)}"
    )
    rules = {
        f"it is not signed: the pod's annotations {APPROVAL} and {DIGEST} are missing; {_SIGN}": _annotated(),
        "the only init container must be the rendered one, which checks that the lock is signed for "
        f"{environment.name}; {again}": f"variables.inits.size() == 1 && variables.inits.all(c, {check})",
        f"the init container may have only its rendered variables, the pod's {APPROVAL} and {DIGEST}, and "
        f"those of Secrets; {again}": f"variables.inits.all(c, {_variables()})",
        f"the init container must mount the ConfigMap {SIGNERS} at {SIGNERS_FOLDER}, and else only what is "
        f"rendered; {again}": f"variables.inits.all(c, {_mounted()}) && {_volumes()}",
    }
    mounted = "object.spec.volumes.filter(v, has(v.image)).map(v, v.image.reference)"
    images = (
        "(object.spec.containers + variables.inits).map(c, c.image) + "
        f"(has(object.spec.volumes) ? {mounted} : [])"
    )
    if not environment.allow_unpinned_image:
        message = "all images must be pinned by digest, …@sha256:<64 hex digits>"
        rules[message] = "variables.images.all(i, i.matches('@sha256:[0-9a-f]{64}$'))"
    if environment.images:
        message = f"all images must be among environment.images: {', '.join(environment.images)}"
        rules[message] = f"variables.images.all(i, i.matches('{image_pattern(environment.images)}'))"
    inits = "has(object.spec.initContainers) ? object.spec.initContainers : []"
    return Policy(
        "pods",
        [_resource("", "v1", "pods")],
        rules,
        {"inits": inits, "images": images},
        # A pod keeps what it was admitted with; labels and the like may change.
        "request.operation == 'CREATE' || object.spec != oldObject.spec",
    )


def _check_arguments() -> list[list[str]]:
    """Return the arguments of the init container, as ``server_pod`` renders them, without the approval's."""
    return [
        server_command("--model", MODEL, check, *flags)["args"]
        for check in ("--fetch-only", "--check-only")
        for flags in ((), ("--triton-repository", REPOSITORY))
    ]


def _annotated() -> str:
    formats = {APPROVAL: "^[1-9][0-9]{0,8}$", DIGEST: "^sha256:[0-9a-f]{64}$"}
    return " && ".join(
        [
            "has(object.metadata.annotations)",
            *(
                f"'{key}' in object.metadata.annotations && "
                f"object.metadata.annotations['{key}'].matches('{pattern}')"
                for key, pattern in formats.items()
            ),
        ]
    )


def _variables() -> str:
    """Return the rule for a container ``c``; a name that occurs twice would have its last value."""
    sources = [
        f'e.name == "{name}" && has(e.valueFrom) && has(e.valueFrom.fieldRef) && '
        f'e.valueFrom.fieldRef.fieldPath == "{field_path(annotation)}"'
        for name, annotation in ANNOTATIONS.items()
    ]
    home = f"e.name == 'HOME' && has(e.value) && e.value == '{TEMPORARY_FOLDER}'"
    allowed = " || ".join(
        [f"({one})" for one in (*sources, home)] + [f"e.name in {_cel(_IDENTITY_VARIABLES)}"]
    )
    return (
        f"has(c.env) && {_cel(list(ANNOTATIONS))}.all(n, c.env.exists(e, e.name == n)) && "
        f"c.env.all(e, {allowed}) && (!has(c.envFrom) || c.envFrom.all(f, has(f.secretRef)))"
    )


def _mounted() -> str:
    """Return the rule for what a container ``c`` mounts."""
    whole = "!has(m.subPath) && !has(m.subPathExpr)"
    return (
        f"has(c.volumeMounts) && c.volumeMounts.exists(m, m.mountPath == '{SIGNERS_FOLDER}') && "
        f"c.volumeMounts.all(m, {whole} && ([m.name, m.mountPath] in {_cel(_MOUNTS)} || "
        f"m.mountPath.startsWith('{_IDENTITY_MOUNTS}') || "
        f"(m.name == 'store' && !m.mountPath.matches('{_SYSTEM_FOLDERS}'))))"
    )


def _volumes() -> str:
    """Return the rule for the volumes behind these mounts."""
    kinds = {
        VOLUME: f"has(v.configMap) && v.configMap.name == '{SIGNERS}' && !has(v.configMap.items)",
        "model": "has(v.emptyDir) || has(v.image)",
        "repository": "has(v.emptyDir)",
        "store": "has(v.persistentVolumeClaim)",
        "tmp": "has(v.emptyDir)",
    }
    rules = [f"(v.name != '{name}' || {rule})" for name, rule in kinds.items()]
    return f"has(object.spec.volumes) && object.spec.volumes.all(v, {' && '.join(rules)})"


def _approvals() -> Policy:
    """Return the policy that refuses an earlier approval in place of a later one: a replayed folder."""
    kinds = [KINDS[kind] for kind in ("Deployment", "Rollout", "InferenceService")]
    resources = [
        _resource(kind.group, kind.version.rpartition("/")[2], kind.plural, "UPDATE") for kind in kinds
    ]
    message = (
        f"{APPROVAL} of the pods is lower than that in the cluster: an earlier approval cannot replace a "
        "later one; go back with `run rollback`, which signs the earlier release again"
    )
    variables = {"number": _number("object"), "before": _number("oldObject")}
    rules = {message: "variables.number >= variables.before"}
    return Policy("approvals", resources, rules, variables)


def _number(item: str) -> str:
    """Return the number of the approval in the pods of a workload, 0 if there is none.

    KServe has the pods' annotations in another field. ``dyn`` keeps the API server from looking for both in
    the schema of each kind.
    """
    spec = f"dyn({item}).spec"

    def number(place: str) -> str:
        text = f"{place}.annotations['{APPROVAL}']"
        known = f"has({place}.annotations) && '{APPROVAL}' in {place}.annotations"
        return f"({known} && {text}.matches('^[1-9][0-9]{{0,8}}$') ? int({text}) : 0)"

    return f"has({spec}.predictor) ? {number(f'{spec}.predictor')} : {number(f'{spec}.template.metadata')}"


def _signers(argocd: str) -> Policy:
    """Return the policy that refuses that Argo CD changes the signers."""
    accounts = [*(account.format(argocd=argocd) for account in _SYNCERS), _REMOTE_SYNCER]
    resource = {
        **_resource("", "v1", "configmaps", "CREATE", "UPDATE", "DELETE"),
        "resourceNames": [SIGNERS],
    }
    tracked = f"'{_TRACKING}' in object.metadata.annotations"
    message = (
        f"the ConfigMap {SIGNERS} is no part of a release: remove it from the release's folder; `run argocd` "
        "writes it, and it is applied by hand"
    )
    rule = (
        f"!(request.userInfo.username in {_cel(accounts)}) && "
        f"(request.operation == 'DELETE' || !has(object.metadata.annotations) || !({tracked}))"
    )
    return Policy("signers", [resource], {message: rule}, {})


def _resource(group: str, version: str, plural: str, *operations: str) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations or ("CREATE", "UPDATE")),
        "resources": [plural],
    }


def _cel(value: object) -> str:
    """Return nested lists of texts as CEL, whose literals are those of JSON."""
    return json.dumps(value)
