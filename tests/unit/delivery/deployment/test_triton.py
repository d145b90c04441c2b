import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from framework.core.errors import ReleaseError
from framework.delivery.deployment.triton import Triton
from framework.serving.http import HttpServing

CLASSIFIER = {"task": "sequence-classification", "engine": "onnxruntime"}


def test_option_file_shows_every_field_with_its_default(shown):
    text, target = shown("triton")
    assert set(text) == set(Triton.model_fields) | {"_target_"}
    assert target == Triton()


@pytest.mark.parametrize(
    ("gpus", "engine", "kind"),
    [(0, "onnxruntime", "KIND_CPU"), (1, "onnxruntime", "KIND_GPU"), (1, "tensorrt", "KIND_GPU")],
)
def test_triton_parses_the_model_config(release, deliver, gpus, engine, kind):
    serving = HttpServing(max_batch_size=16, batch_timeout=0.005)
    target = Triton(gpus=gpus, instances=2, warmup_tokens=32)
    workload = target.workload(release(**CLASSIFIER | {"engine": engine}), deliver(serving=serving))
    parsed = text_format.Parse(workload.files["config.pbtxt"], model_config_pb2.ModelConfig())
    assert parsed.name == "tiny"
    assert parsed.backend == engine
    assert parsed.max_batch_size == 16
    assert parsed.dynamic_batching.max_queue_delay_microseconds == 5000
    (group,) = parsed.instance_group
    assert (group.count, model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind)) == (2, kind)
    (warmup,) = parsed.model_warmup
    assert set(warmup.inputs) == {"input_ids", "attention_mask"}
    for tensor in warmup.inputs.values():
        assert list(tensor.dims) == [32]
        assert tensor.zero_data
        assert model_config_pb2.DataType.Name(tensor.data_type) == "TYPE_INT64"


def test_fetch_writes_the_repository_that_triton_opens(release, deliver):
    workload = Triton().workload(release(**CLASSIFIER), deliver())
    (fetch,), (server,) = workload.pod["initContainers"], workload.pod["containers"]
    repository = fetch["args"][fetch["args"].index("--triton-repository") + 1]
    assert f"--model-repository={repository}" in server["args"]
    model = next(mount for mount in server["volumeMounts"] if mount["name"] == "model")
    assert repository.startswith(f"{model['mountPath']}/")
    assert model["readOnly"]


def test_mounted_model_gets_a_repository_volume(release, deliver):
    image = f"registry.example.com/models/tiny@sha256:{'b' * 64}"
    workload = Triton(model_image=image).workload(release(**CLASSIFIER), deliver())
    (check,), (server,) = workload.pod["initContainers"], workload.pod["containers"]
    mounts = {
        container["name"]: {m["name"]: m for m in container["volumeMounts"]} for container in (check, server)
    }
    assert "readOnly" not in mounts["check-model"]["repository"]
    assert mounts["server"]["repository"]["readOnly"]
    assert f"--model-repository={mounts['server']['repository']['mountPath']}" in server["args"]
    assert {"emptyDir": {"sizeLimit": "10Gi"}, "name": "repository"} in workload.pod["volumes"]


def test_every_port_is_bound_served_and_allowed(release, deliver):
    objects = {item["kind"]: item for item in Triton().objects(release(**CLASSIFIER), deliver())}
    server = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    bound = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert bound == {"http": 8000, "grpc": 8001, "metrics": 8002}
    for name, number in bound.items():
        assert f"--{name}-port={number}" in server["args"]
    assert {port["name"] for port in objects["Service"]["spec"]["ports"]} == set(bound)
    (rule,) = objects["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == set(bound)
    assert Triton().workload(release(**CLASSIFIER), deliver()).metrics_port == "metrics"
    assert server["startupProbe"]["httpGet"]["path"] == "/v2/health/ready"


@pytest.mark.parametrize(
    ("fields", "override"),
    [({"engine": "torch"}, "export=onnx"), ({"task": "causal-lm"}, "deployment=kubernetes")],
)
def test_release_that_triton_cannot_open_is_refused(release, deliver, fields, override):
    with pytest.raises(ReleaseError, match=f"release.lock: {next(iter(fields))}: .*{override}"):
        Triton().files(release(**CLASSIFIER | fields), deliver())


def test_engine_without_gpu_and_api_key_are_refused(release, deliver):
    with pytest.raises(ReleaseError, match=r"set deployment\.gpus=1"):
        Triton().files(release(**CLASSIFIER | {"engine": "tensorrt"}), deliver())
    (problem,) = Triton(api_key_secret={"name": "keys"}).problems(deliver())
    assert problem.overrides == ("deployment.api_key_secret=null",)
    assert "deployment.ingress_from" in problem.advice
