"""Changes of objects in a cluster: of fields that Git sets, of those that it does not, and by controllers.

Each row has a name, the rendered file, the manager, the change, and the path at which it must be reported; a
controller's has the subresource instead, because it must not be reported.
"""

import copy
from pathlib import Path

import yaml

GOLDEN = Path(__file__).parent / "golden" / "environments"
EDIT, PATCH, NOTE = "kubectl-edit", "kubectl-patch", "kubectl-annotate"
ROLLOUTS, KCM = "rollouts-controller", "kube-controller-manager"


def read(name):
    return yaml.safe_load((GOLDEN / "production" / name).read_text())


def at(item, path):
    """Return what is at *path*: keys and indexes, separated by spaces."""
    for key in path.split():
        item = item[int(key) if key.isdigit() else key]
    return item


def put(path, value):
    """Return a change that sets the field at *path*."""
    parent, _, key = path.rpartition(" ")

    def change(item):
        at(item, parent)[int(key) if key.isdigit() else key] = copy.deepcopy(value)

    return change


def drop(path):
    """Return a change that removes the field at *path*."""
    parent, _, key = path.rpartition(" ")
    return lambda item: at(item, parent).pop(int(key) if key.isdigit() else key)


def insert(path, value, index=0):
    """Return a change that inserts *value* into the list at *path*."""
    return lambda item: at(item, path).insert(index, copy.deepcopy(value))


DEPLOYMENT, ROLLOUT = "tiny/deployment-tiny.yaml", "canary/rollout-canary.yaml"
SERVICE, VIRTUAL = "canary/service-canary.yaml", "canary/virtualservice-canary.yaml"
RULE, SCALED = "canary/destinationrule-canary.yaml", "canary/scaledobject-canary.yaml"
ANALYSIS, HTTP = "canary/analysistemplate-canary.yaml", "ab/httproute-ab.yaml"
POLICY, SCALER = "tiny/networkpolicy-tiny.yaml", "tiny/horizontalpodautoscaler-tiny.yaml"
FILES, ACCOUNT = "tiny/configmap-tiny.yaml", "tiny/serviceaccount-tiny.yaml"
BUDGET, SHADOW = "tiny/poddisruptionbudget-tiny.yaml", "shadow/virtualservice-shadow.yaml"
INFERENCE = "kserve/inferenceservice-kserve.yaml"
TEMPLATE, SERVER = "spec template spec", "spec template spec containers 0"
LIVE, LIVE_SERVER = "spec.template.spec", "spec.template.spec.containers[server]"
PAUSED, REVISION = "autoscaling.keda.sh/paused", "deployment.kubernetes.io/revision"
HASH, DIGEST = "rollouts-pod-template-hash", "gitune.dev/digest"
FAULT = {"abort": {"httpStatus": 500, "percentage": {"value": 50}}}
EVIL = {"host": "evil.example.com"}
PART_OF = "app.kubernetes.io/part-of"

UNSET = [  # fields that Git does not set
    ("hostNetwork", DEPLOYMENT, EDIT, put(f"{TEMPLATE} hostNetwork", True), f"{LIVE}.hostNetwork"),
    ("hostPID", DEPLOYMENT, PATCH, put(f"{TEMPLATE} hostPID", True), f"{LIVE}.hostPID"),
    (
        "privileged",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} securityContext privileged", True),
        f"{LIVE_SERVER}.securityContext.privileged",
    ),
    (
        "capabilities.add",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} securityContext capabilities add", ["NET_ADMIN"]),
        f"{LIVE_SERVER}.securityContext.capabilities.add",
    ),
    (
        "envFrom",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} envFrom", [{"secretRef": {"name": "x"}}]),
        f"{LIVE_SERVER}.envFrom",
    ),
    ("paused", DEPLOYMENT, "kubectl-rollout", put("spec paused", True), "spec.paused"),
    (
        "abortScaleDownDelaySeconds",
        ROLLOUT,
        PATCH,
        put("spec strategy canary abortScaleDownDelaySeconds", 60),
        "spec.strategy.canary.abortScaleDownDelaySeconds",
    ),
    ("externalIPs", SERVICE, EDIT, put("spec externalIPs", ["192.0.2.1"]), "spec.externalIPs"),
    ("selector added", SERVICE, EDIT, put("spec selector pod", "evil"), "spec.selector.pod"),
    ("fault", VIRTUAL, EDIT, put("spec http 0 fault", FAULT), "spec.http[release].fault"),
    ("mirror", VIRTUAL, EDIT, put("spec http 0 mirror", EVIL), "spec.http[release].mirror"),
    ("route inserted", VIRTUAL, EDIT, insert("spec http", {"name": "evil"}), "spec.http[evil]"),
    ("tls", RULE, EDIT, put("spec trafficPolicy tls", {"mode": "DISABLE"}), "spec.trafficPolicy.tls.mode"),
    (
        "KEDA paused",
        SCALED,
        NOTE,
        put(f"metadata annotations {PAUSED}", "true"),
        f"metadata.annotations.{PAUSED}",
    ),
    ("dryRun", ANALYSIS, EDIT, put("spec dryRun", [{"metricName": ".*"}]), "spec.dryRun"),
    # The neighbors of what was missed.
    ("route without a name", VIRTUAL, EDIT, insert("spec http", {"route": []}), "spec.http[0]"),
    ("shadow inserted", VIRTUAL, EDIT, insert("spec http", {"name": "shadow"}), "spec.http[shadow]"),
    ("rule inserted", HTTP, EDIT, insert("spec rules", {"backendRefs": []}), "spec.rules[0]"),
    (
        "weights by hand",
        VIRTUAL,
        EDIT,
        put("spec http 0 route 0 weight", 1),
        "spec.http[release].route[0].weight",
    ),
    ("scaled by hand", DEPLOYMENT, "kubectl", put("spec replicas", 0), "spec.replicas"),
    ("scaled to zero", ROLLOUT, "kubectl", put("spec replicas", 0), "spec.replicas"),
    ("finalizer", FILES, PATCH, put("metadata finalizers", ["x.io/keep"]), "metadata.finalizers[x.io/keep]"),
    ("pull secrets", ACCOUNT, PATCH, put("imagePullSecrets", [{"name": "x"}]), "imagePullSecrets"),
    ("binary data", FILES, EDIT, put("binaryData", {"x": "eA=="}), "binaryData.x"),
]
SET = [  # fields that Git sets
    ("image", DEPLOYMENT, "kubectl-set", put(f"{SERVER} image", "other:1"), f"{LIVE_SERVER}.image"),
    ("command", DEPLOYMENT, EDIT, insert(f"{SERVER} command", "sh"), f"{LIVE_SERVER}.command[0]"),
    ("env value", DEPLOYMENT, EDIT, put(f"{SERVER} env 0 value", "/x"), f"{LIVE_SERVER}.env[HOME].value"),
    (
        "env added",
        DEPLOYMENT,
        "kubectl-set",
        insert(f"{SERVER} env", {"name": "A", "value": "b"}, 1),
        f"{LIVE_SERVER}.env[A]",
    ),
    (
        "memory",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} resources limits memory", "32Gi"),
        f"{LIVE_SERVER}.resources.limits.memory",
    ),
    (
        "root file system",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} securityContext readOnlyRootFilesystem", False),
        f"{LIVE_SERVER}.securityContext.readOnlyRootFilesystem",
    ),
    (
        "probe",
        DEPLOYMENT,
        EDIT,
        put(f"{SERVER} livenessProbe httpGet path", "/"),
        f"{LIVE_SERVER}.livenessProbe.httpGet.path",
    ),
    (
        "sidecar",
        DEPLOYMENT,
        EDIT,
        insert(f"{TEMPLATE} containers", {"name": "side", "image": "x"}, 1),
        f"{LIVE}.containers[side]",
    ),
    ("account", DEPLOYMENT, EDIT, put(f"{TEMPLATE} serviceAccountName", "x"), f"{LIVE}.serviceAccountName"),
    ("service port", SERVICE, EDIT, put("spec ports 0 targetPort", 99), "spec.ports[http].targetPort"),
    (
        "selector value",
        SERVICE,
        EDIT,
        put("spec selector app.kubernetes.io/name", "x"),
        "spec.selector.app.kubernetes.io/name",
    ),
    ("policy opened", POLICY, EDIT, insert("spec ingress", {}, 1), "spec.ingress[1]"),
    ("replicas allowed", SCALER, PATCH, put("spec maxReplicas", 99), "spec.maxReplicas"),
    ("budget", BUDGET, EDIT, put("spec maxUnavailable", "100%"), "spec.maxUnavailable"),
    ("data", FILES, EDIT, put("data serving.json", "{}"), "data.serving.json"),
    ("data removed", FILES, EDIT, drop("data serving.json"), "data.serving.json"),
    (
        "label removed",
        RULE,
        "kubectl-label",
        drop(f"metadata labels {PART_OF}"),
        f"metadata.labels.{PART_OF}",
    ),
    ("digest", ROLLOUT, NOTE, put(f"metadata annotations {DIGEST}", "x"), f"metadata.annotations.{DIGEST}"),
    ("step removed", ROLLOUT, EDIT, drop("spec strategy canary steps 0"), "spec.strategy.canary.steps[3]"),
    (
        "query",
        SCALED,
        EDIT,
        put("spec triggers 1 metadata query", "1"),
        "spec.triggers[waiting].metadata.query",
    ),
]
QUIET = [  # what controllers do
    ("autoscaled", DEPLOYMENT, KCM, put("spec replicas", 7), "scale"),
    ("revision", DEPLOYMENT, KCM, put(f"metadata annotations {REVISION}", "3"), "status"),
    ("pods' hash", SERVICE, ROLLOUTS, put(f"spec selector {HASH}", "7f"), ""),
    ("weights", VIRTUAL, ROLLOUTS, put("spec http 0 route 0 weight", 63), ""),
    ("mirrored", SHADOW, ROLLOUTS, insert("spec http", {"name": "shadow", "mirror": {"host": "x"}}), ""),
    ("weights of a Gateway", HTTP, "gatewayAPI", put("spec rules 0 backendRefs 1 weight", 40), ""),
    # More than the changes that were tried.
    ("header rule", HTTP, "gatewayAPI", insert("spec rules", {"name": "arm-b", "backendRefs": []}), ""),
    ("header rule of old plugins", HTTP, "gatewayAPI", insert("spec rules", {"backendRefs": []}), ""),
    ("Rollout autoscaled", ROLLOUT, KCM, put("spec replicas", 3), "scale"),
    ("Rollout written back", ROLLOUT, ROLLOUTS, put(f"{SERVER} terminationMessagePolicy", "File"), ""),
    ("KEDA's label", SCALED, "keda", put("metadata labels scaledobject.keda.sh/name", "canary"), ""),
    ("KEDA's finalizer", SCALED, "keda", put("metadata finalizers", ["finalizer.keda.sh"]), ""),
    ("KServe", INFERENCE, "manager", put("metadata finalizers", ["inferenceservice.finalizers"]), ""),
    ("status", DEPLOYMENT, KCM, put("status", {"replicas": 2}), "status"),
]
