"""An API server's part in server-side apply: defaults, and who owns which field, in its own format.

`applied` answers as after a sync by Argo CD, `changed` as after a request of another client. Lists are merged
by the keys that the API and the CRDs declare; all other lists, and the maps below, are owned as a whole.
"""

import copy
import json

_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "groups": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "receivers": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_SETS = ("finalizers",)
_ATOMIC = ("fieldRef", "labelSelector", "podSelector", "selector", "nodeSelector")
_POD = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
}
_CONTAINER = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_SERVICE = {
    "clusterIP": "10.0.0.7",
    "clusterIPs": ["10.0.0.7"],
    "internalTrafficPolicy": "Cluster",
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "sessionAffinity": "None",
}
_SYSTEM = {
    "uid": "6f1d",
    "resourceVersion": "7",
    "generation": 1,
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def applied(git):
    """Return *git* as the server answers after Argo CD applied it."""
    sent = copy.deepcopy(git)
    sent["metadata"].setdefault("annotations", {})["argocd.argoproj.io/tracking-id"] = "production-x:apps"
    if git["kind"] == "Service":  # client-side, and what a client creates it owns together with the defaults
        sent["metadata"]["annotations"][_APPLIED] = json.dumps(git)
        live = _defaulted(copy.deepcopy(sent))
        owned = copy.deepcopy(live)
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):  # allocated later
            del owned["spec"][key]
        _record(live, {("argocd-controller", "Update", ""): set(_leaves(owned))})
        return live
    live = _defaulted(copy.deepcopy(sent))
    _record(live, {("argocd-controller", "Apply", ""): set(_leaves(sent))})
    return live


def changed(live, manager, change, subresource=""):
    """Change *live* in place as *manager*, who takes over every field whose value it changes."""
    before = dict(_leaves(live, values=True))
    change(live)
    after = dict(_leaves(live, values=True))
    owners = {
        owner: {path for path in paths if path in after and after[path] == before.get(path)}
        for owner, paths in _recorded(live).items()
    }
    key = (manager, "Update", subresource)
    taken = {path for path in after if path not in before or before[path] != after[path]}
    owners[key] = owners.get(key, set()) | taken
    _record(live, owners)
    return live


def _defaulted(live):
    live["metadata"] |= _SYSTEM
    spec = live.get("spec", {})
    if live["kind"] == "Service":
        spec.update({key: copy.deepcopy(value) for key, value in _SERVICE.items()})
    if live["kind"] == "Deployment":
        pod = spec["template"]["spec"]
        pod |= _POD | {"serviceAccount": pod["serviceAccountName"]}
        for container in (*pod["containers"], *pod["initContainers"]):
            container |= _CONTAINER
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    container[probe]["successThreshold"] = 1
                    container[probe].get("httpGet", {}).setdefault("scheme", "HTTP")
        for volume in pod["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["defaultMode"] = 420
    return live


def _leaves(item, values=False):
    body = {key: part for key, part in item.items() if key not in ("apiVersion", "kind")}
    metadata = item["metadata"]
    kept = ("annotations", "finalizers", "labels", "ownerReferences")
    body["metadata"] = {key: metadata[key] for key in kept if key in metadata}
    found = _below(body, (), "")
    return found if values else (path for path, _ in found)


def _below(value, path, name):
    if isinstance(value, dict) and value and name not in _ATOMIC:
        for key, part in value.items():
            yield from _below(part, (*path, f"f:{key}"), key)
    elif isinstance(value, list) and value and (keys := _keys_of(name, value)):
        for part in value:
            step = "k:" + json.dumps({key: part[key] for key in keys}, separators=(",", ":"))
            yield (*path, step, "."), True
            yield from _below(part, (*path, step), "")
    elif isinstance(value, list) and name in _SETS:
        for part in value:
            yield (*path, f"v:{json.dumps(part)}"), part
    else:
        yield path, copy.deepcopy(value)


def _keys_of(name, items):
    if name == "ports" and all(isinstance(item, dict) for item in items):
        if all("containerPort" in item for item in items):
            return ("containerPort", "protocol")
        if all("targetPort" in item for item in items):
            return ("port", "protocol")
    return _KEYS.get(name, ())


def _recorded(live):
    def paths(tree, path):
        for key, below in tree.items():
            if below:
                yield from paths(below, (*path, key))
            else:
                yield (*path, key)

    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): set(
            paths(entry["fieldsV1"], ())
        )
        for entry in live["metadata"]["managedFields"]
    }


def _record(live, owners):
    entries = []
    for (manager, operation, subresource), paths in owners.items():
        if not paths:
            continue
        tree = {}
        for path in sorted(paths):
            below = tree
            for key in path:
                below = below.setdefault(key, {})
        entries.append(
            {
                "apiVersion": live["apiVersion"],
                "fieldsType": "FieldsV1",
                "fieldsV1": tree,
                "manager": manager,
                "operation": operation,
                "time": "2026-01-01T00:00:00Z",
                **({"subresource": subresource} if subresource else {}),
            }
        )
    live["metadata"]["managedFields"] = entries
