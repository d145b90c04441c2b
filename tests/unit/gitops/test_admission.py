"""The admission policies of `run argocd`, evaluated on rendered pods and on tampered ones."""

import copy
import functools
import json
import subprocess
from pathlib import Path

import kubernetes_judge
import pytest
import yaml
from admission_policies import pod_of, refusals
from signing_keys import key_pair

from framework.core.approval import approve
from framework.core.bundle import signed_with_key
from framework.core.errors import ConfigError
from framework.core.release import Release
from framework.core.signers import Signers
from framework.gitops.admission import admission
from framework.gitops.argocd import argocd, environments, render_files

ROOT = Path(__file__).parents[3]

PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
OTHERS = {"fetch_image": PINNED, "image": f"registry.example.com/others/server@sha256:{'6' * 64}"}
CLASSIFIER = {"task": "sequence-classification", "engine": "onnxruntime"}
MOUNTED = {"model_image": f"registry.example.com/models/tiny@sha256:{'7' * 64}"}
REMOTE = {"model_uri": f"s3://bucket/models/{'1' * 64}"}
TARGETS = {
    "kubernetes": {},
    "remote": {"deployment": ("kubernetes", {"image": PINNED, "store_secret": "store"}), "release": REMOTE},
    "mounted": {"deployment": ("kubernetes", {"image": PINNED, **MOUNTED})},
    "kserve": {"deployment": ("kserve", {"image": PINNED})},
    "vllm": {"deployment": ("vllm", OTHERS), "autoscaling": "fixed", "release": {"engine": "torch"}},
    "triton": {"deployment": ("triton", OTHERS), "release": CLASSIFIER},
    "triton-mounted": {"deployment": ("triton", {**OTHERS, **MOUNTED}), "release": CLASSIFIER},
}
ARGOCD = {"username": "system:serviceaccount:argocd:argocd-application-controller"}
CONNECTED = ("argocd", "https://github.com/Team/models.git", "main")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return key_pair(tmp_path_factory.mktemp("keys"), "ours")


@pytest.fixture(scope="module")
def signers(keys):
    return Signers(keys=(keys[1].read_text(),))


@pytest.fixture(scope="module")
def environment(signers):
    (production,) = (place for place in environments() if place.name == "production")
    return production.model_copy(update={"signers": signers, "images": ("registry.example.com/",)})


@pytest.fixture(scope="module")
def signed(keys, render_with, environment):
    """Render a target's objects for a lock that is signed for *environment*."""
    sign = functools.partial(signed_with_key, private_key=keys[0].read_bytes())

    def objects(number=3, **parts):
        tiny = Release.read(ROOT / "tests" / "golden" / "tiny.lock")
        lock = approve(tiny.model_copy(update=parts.get("release", {})), "production", number, sign)
        chosen = {"deployment": ("kubernetes", {"image": PINNED}), "environment": environment, **parts}
        files = render_with(**{**chosen, "release": dict(lock)})
        items = [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]
        return {item["kind"]: item for item in items}

    return objects


@pytest.fixture(scope="module")
def policies(environment):
    """The specs of the policies of Kubernetes, by the end of their names."""
    items = admission(environment, "policy", *CONNECTED)
    return {
        item["metadata"]["name"].removeprefix("gitune-production-"): item["spec"]
        for item in items
        if item["kind"] == "ValidatingAdmissionPolicy"
    }


@pytest.mark.parametrize("name", TARGETS)
def test_rendered_pods_are_admitted(policies, signed, name):
    pod = pod_of(signed(**TARGETS[name]))
    assert refusals(policies["pods"], pod) == []
    assert pod["metadata"]["annotations"]["gitune.dev/approval"] == "3"


def test_pods_that_carry_their_files_are_admitted(policies, signed, measured):
    image = {"image": PINNED, "api_key_secret": {"name": "keys"}}
    parts = {"rollout": "blue-green", "monitoring": measured, "deployment": ("kubernetes", image)}
    objects = signed(**parts)
    assert refusals(policies["pods"], pod_of(objects)) == []
    newer = signed(number=4, **parts)["Rollout"]
    assert refusals(policies["approvals"], newer, objects["Rollout"]) == []
    assert len(refusals(policies["approvals"], objects["Rollout"], newer)) == 1


def test_variables_and_mounts_of_a_workload_identity_are_admitted(policies, signed):
    pod = pod_of(signed(**TARGETS["remote"]))
    (check,) = pod["spec"]["initContainers"]
    check["env"].append({"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/models"})
    check["volumeMounts"].append({"mountPath": "/var/run/secrets/eks.amazonaws.com", "name": "token"})
    pod["spec"]["volumes"].append({"name": "token", "projected": {}})
    assert refusals(policies["pods"], pod) == []


def init(pod):
    return pod["spec"]["initContainers"][0]


def volume(pod, name):
    return next(item for item in pod["spec"]["volumes"] if item["name"] == name)


def other_arguments(pod, *more, until=None):
    init(pod)["args"] = [*init(pod)["args"][:until], *more]


TAMPERED = {
    "no init container": lambda pod: pod["spec"].pop("initContainers"),
    "second init container": lambda pod: pod["spec"]["initContainers"].append({"name": "x", "image": PINNED}),
    "sidecar": lambda pod: init(pod).update(restartPolicy="Always"),
    "other name": lambda pod: init(pod).update(name="other"),
    "other command": lambda pod: init(pod).update(command=["true"]),
    "no command": lambda pod: init(pod).pop("command"),
    "importing from folders": lambda pod: init(pod).update(command=["python", "-m", "framework.server"]),
    "no signers": lambda pod: other_arguments(pod, until=5),
    "signers of its own": lambda pod: other_arguments(pod, "--signers", "/etc/gitune/mine.json"),
    "only help": lambda pod: other_arguments(pod, "--help"),
    "other environment": lambda pod: init(pod).update(
        args=["dev" if word == "production" else word for word in init(pod)["args"]]
    ),
    "number of its own": lambda pod: init(pod)["env"].append({"name": "GITUNE_APPROVAL", "value": "3"}),
    "number of another annotation": lambda pod: init(pod)["env"][1]["valueFrom"]["fieldRef"].update(
        fieldPath="metadata.annotations['mine']"
    ),
    "no number": lambda pod: init(pod)["env"].pop(1),
    "path": lambda pod: init(pod)["env"].append({"name": "PATH", "value": "/etc/gitune"}),
    "variables of a ConfigMap": lambda pod: init(pod).update(envFrom=[{"configMapRef": {"name": "mine"}}]),
    "other ConfigMap": lambda pod: volume(pod, "signers")["configMap"].update(name="mine"),
    "other file of it": lambda pod: volume(pod, "signers")["configMap"].update(items=[]),
    "signers of an image": lambda pod: volume(pod, "signers").pop("configMap"),
    "signers not mounted": lambda pod: init(pod)["volumeMounts"].pop(),
    "other signers mounted": lambda pod: init(pod)["volumeMounts"][-1].update(name="config"),
    "part of it mounted": lambda pod: init(pod)["volumeMounts"][-1].update(subPath="x"),
    "code mounted": lambda pod: init(pod)["volumeMounts"].append(
        {"mountPath": "/opt/gitune", "name": "store"}
    ),
    "ConfigMap as /tmp": lambda pod: (
        volume(pod, "tmp").update(emptyDir=None) or volume(pod, "tmp").pop("emptyDir")
    ),
    "unpinned image": lambda pod: init(pod).update(image="registry.example.com/gitune/server:1"),
    "image from elsewhere": lambda pod: init(pod).update(image=f"evil.example.com/server@sha256:{'5' * 64}"),
    "similar registry": lambda pod: init(pod).update(image=f"registry-example.com/s@sha256:{'5' * 64}"),
    "sidecar from elsewhere": lambda pod: pod["spec"]["containers"].append({"image": "evil.example.com/a"}),
    "unsigned": lambda pod: pod["metadata"]["annotations"].pop("gitune.dev/approval"),
    "number 0": lambda pod: pod["metadata"]["annotations"].update({"gitune.dev/approval": "0"}),
    "no digest": lambda pod: pod["metadata"]["annotations"].pop("gitune.dev/digest"),
    "no annotations": lambda pod: pod["metadata"].pop("annotations"),
}


@pytest.fixture(scope="module")
def admitted(signed):
    return pod_of(signed())


@pytest.mark.parametrize("name", TAMPERED)
def test_any_other_pod_is_refused(policies, admitted, name):
    pod = copy.deepcopy(admitted)
    TAMPERED[name](pod)
    assert refusals(policies["pods"], pod)


def test_pod_that_was_admitted_can_get_labels_but_no_other_image(policies, admitted):
    earlier = {**copy.deepcopy(admitted), "spec": {"containers": [{"image": "evil.example.com/a"}]}}
    assert refusals(policies["pods"], {**earlier, "metadata": {"labels": {"a": "b"}}}, earlier) == []
    changed = copy.deepcopy(admitted)
    changed["spec"]["containers"][0]["image"] = "evil.example.com/a"
    assert len(refusals(policies["pods"], changed, admitted)) == 2


def test_images_are_not_judged_where_the_environment_does_not(admitted, environment):
    free = environment.model_copy(update={"images": (), "allow_unpinned_image": True})
    spec = admission(free, "policy", *CONNECTED)[1]["spec"]
    pod = copy.deepcopy(admitted)
    init(pod)["image"] = "evil.example.com/a"
    assert refusals(spec, pod) == []


@pytest.mark.parametrize("kind", ["Deployment", "InferenceService"])
def test_replayed_folder_is_refused_and_a_rollback_is_not(policies, signed, kind):
    parts = TARGETS["kserve" if kind == "InferenceService" else "kubernetes"]
    old, new, later = (signed(number=number, **parts)[kind] for number in (9, 10, 11))
    unsigned = copy.deepcopy(old)
    place = unsigned["spec"].get("predictor") or unsigned["spec"]["template"]["metadata"]
    del place["annotations"]["gitune.dev/approval"]
    approvals = policies["approvals"]
    assert len(refusals(approvals, old, new)) == len(refusals(approvals, unsigned, new)) == 1
    assert refusals(approvals, later, new) == refusals(approvals, new, new) == []
    assert refusals(approvals, new, unsigned) == []


def test_argocd_cannot_change_the_signers(policies, environment):
    (item, *_) = admission(environment, "policy", *CONNECTED)
    spec = policies["signers"]
    assert spec["matchConstraints"]["resourceRules"][0]["resourceNames"] == [item["metadata"]["name"]]
    assert refusals(spec, item) == refusals(spec, item, item) == []
    assert refusals(spec, None, item, "DELETE") == []
    for operation, new in (("CREATE", item), ("UPDATE", item), ("DELETE", None)):
        assert refusals(spec, new, item, operation, ARGOCD["username"])
    synced = copy.deepcopy(item)
    synced["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "production-tiny:/ConfigMap"}
    assert refusals(spec, synced, item)


def test_files_have_the_signers_and_valid_policies(environment, signers):
    settings = {
        **dict(zip(("namespace", "repo", "branch"), CONNECTED, strict=True)),
        **{"admission": "both", "environments": "environments", "server": "https://cluster.example.com"},
    }
    dev = next(place for place in environments() if place.name == "dev")
    files = {name: yaml.safe_load(text) for name, text in render_files([dev, environment], settings).items()}
    mine = files["signers-gitune-production.yaml"]
    assert mine["metadata"]["namespace"] == environment.namespace
    assert Signers.model_validate(json.loads(mine["data"]["signers.json"])) == signers
    # kubectl applies a folder in the order of its files' names.
    inside = [
        name for name, item in files.items() if item["metadata"].get("namespace") == environment.namespace
    ]
    assert min(inside) > "namespace-gitune-production.yaml"
    project = files["appproject-gitune-production.yaml"]["spec"]
    assert {"group": "", "kind": "ConfigMap", "name": "gitune-signers"} in project["orphanedResources"][
        "ignore"
    ]
    names = [name for name in files if "policy-" in name or "binding-" in name]
    assert not [name for name in names if name.startswith(("validating", "image")) and "dev" in name]
    for name in ("pods", "approvals", "signers"):
        policy = files[f"validatingadmissionpolicy-gitune-production-{name}.yaml"]
        binding = files[f"validatingadmissionpolicybinding-gitune-production-{name}.yaml"]
        assert kubernetes_judge.problems_of(policy) == kubernetes_judge.problems_of(binding) == []
        assert binding["spec"]["policyName"] == policy["metadata"]["name"]
        selector = binding["spec"]["matchResources"]["namespaceSelector"]
        assert selector == {"matchLabels": {"kubernetes.io/metadata.name": environment.namespace}}
        kyverno = files[f"validatingpolicy-gitune-production-{name}.yaml"]["spec"]
        same = ("validations", "variables", "matchConditions", "failurePolicy")
        assert [kyverno.get(key) for key in same] == [policy["spec"].get(key) for key in same]
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        assert kyverno["matchConstraints"] == {"resourceRules": rules, "namespaceSelector": selector}
    (attestor,) = files["imagevalidatingpolicy-gitune-production-images.yaml"]["spec"]["attestors"]
    (identity,) = attestor["cosign"]["keyless"]["identities"]
    workflow = "https://github.com/Team/models/.github/workflows/image.yaml"
    assert identity["subject"] == f"{workflow}@refs/heads/main"


def test_command_writes_them_for_environments_with_signers(tmp_path, monkeypatch, capsys, signers):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    option = yaml.safe_load((ROOT / "conf" / "environment" / "staging.yaml").read_text())
    own = tmp_path / "conf" / "environment" / "staging.yaml"
    own.parent.mkdir(parents=True)
    folder = tmp_path / "environments" / "argocd"

    def write(admission="policy", **fields):
        own.write_text(yaml.safe_dump({**option, **fields}))
        argocd(["repo=https://git.example.org/models.git", f"admission={admission}"])
        return {file.name for file in folder.iterdir()}

    plain = write()
    accepted = {"keys": [*signers.keys]}
    capsys.readouterr()
    signed = write(signers=accepted, images=["registry.example.com/"])
    assert "images" not in capsys.readouterr().out
    assert "validatingadmissionpolicy-gitune-staging-pods.yaml" in signed
    assert write("none", signers=accepted) - plain == {"signers-gitune-staging.yaml"}
    assert "conf/environment/staging.yaml: images" in capsys.readouterr().out
    assert write() == plain
    with pytest.raises(ConfigError, match="admission=kyvern"):
        write("kyvern")


@pytest.mark.parametrize(
    ("engine", "kinds"),
    [
        ("none", {"ConfigMap"}),
        ("kyverno", {"ConfigMap", "ValidatingPolicy"}),
        ("policy", {"ConfigMap", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
    ],
)
def test_engine_is_chosen_and_images_are_checked_on_github_alone(environment, engine, kinds):
    items = admission(environment, engine, "argocd", "https://git.example.com/team/models.git", "main")
    assert {item["kind"] for item in items} == kinds
