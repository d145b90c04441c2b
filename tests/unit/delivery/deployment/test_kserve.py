import kubernetes_judge

from framework.delivery.autoscaling import Autoscaling
from framework.delivery.deployment.kserve import KServe
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.rollout import Rollout


class Fixed(Autoscaling):
    def objects(self, workload, target, environment, monitoring):
        return []

    def follows(self, gpus):
        return "nothing"


class Canary(Rollout):
    def objects(self, workload, traffic, monitoring):
        return []

    def scaled(self, identity):
        return {}

    def services(self, identity):
        return (identity.name,)

    def rollback_seconds(self, start_seconds):
        return 0


def built(target, release, delivery):
    return {item["kind"]: item for item in target.objects(release, delivery)}


def test_option_file_shows_every_field_with_its_default(shown):
    text, target = shown("kserve")
    assert set(text) == set(KServe.model_fields) | {"_target_"}
    assert target == KServe()


def test_predictor_is_the_pod_of_our_own_server(release, deliver):
    predictor = built(KServe(), release(), deliver())["InferenceService"]["spec"]["predictor"]
    template = built(Kubernetes(), release(), deliver())["Deployment"]["spec"]["template"]
    pod = {key: predictor[key] for key in template["spec"]}
    assert pod["containers"][0].pop("name") == "kserve-container"
    assert template["spec"]["containers"][0].pop("name") == "server"
    assert pod == template["spec"]
    assert predictor["annotations"] == template["metadata"]["annotations"]  # a changed config rolls the pods


def test_kserve_creates_the_other_objects(release, deliver):
    objects = built(KServe(), release(), deliver("production"))
    assert set(objects) == {
        "ConfigMap",
        "InferenceService",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "ServiceAccount",
    }
    service = objects["InferenceService"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 10)
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("cpu", 70)
    # KServe copies its object's labels to the pods; policy and budget select by them.
    selector = objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()


def test_api_server_adds_no_defaults(release, deliver):
    service = built(KServe(), release(), deliver())["InferenceService"]
    kind = kubernetes_judge.custom_kind(service["apiVersion"], service["kind"])
    assert kind is not None
    assert kind.with_defaults(service) == service


def test_options_that_kserve_would_override_are_refused(deliver):
    target = KServe(image=f"gitune/server@sha256:{'a' * 64}")
    assert target.problems(deliver("production")) == []
    (problem,) = target.problems(deliver("production", rollout=Canary()))
    assert "rollout=rolling" in problem.overrides
    (problem,) = target.problems(deliver("production", autoscaling=Fixed()))
    assert problem.overrides[0].startswith("autoscaling=hpa ")
    assert target.problems(deliver("dev", rollout=Canary())) == []  # dev always uses a rolling update
