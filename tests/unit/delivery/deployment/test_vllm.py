import pytest
from pydantic import ValidationError

from framework.core.errors import ReleaseError
from framework.delivery.deployment.vllm import Vllm


def server(target, release, delivery):
    pod = target.workload(release, delivery).pod
    return pod, pod["containers"][0]


def test_option_file_shows_every_field_with_its_default(shown):
    text, target = shown("vllm")
    assert set(text) == set(Vllm.model_fields) | {"_target_"}
    assert target == Vllm()


def test_startup_probe_requests_a_token_of_the_served_name(release, deliver):
    workload = Vllm().workload(release(engine="torch"), deliver())
    container = workload.pod["containers"][0]
    python, script, port, name = container["startupProbe"]["exec"]["command"]
    assert python == "python3"
    config = next(m for m in container["volumeMounts"] if m["name"] == "config")["mountPath"]
    assert script.removeprefix(f"{config}/") in workload.files
    assert f"--served-model-name={name}" in container["args"]
    assert f"--port={port}" in container["args"]
    assert int(port) == container["ports"][0]["containerPort"]
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == Vllm().startup_seconds


def test_weights_are_split_over_gpus_with_shared_memory(release, deliver):
    pod, container = server(Vllm(gpus=4, shared_memory="8Gi"), release(engine="torch"), deliver())
    assert "--tensor-parallel-size=4" in container["args"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert {"mountPath": "/dev/shm", "name": "shared-memory"} in container["volumeMounts"]
    memory = next(v for v in pod["volumes"] if v["name"] == "shared-memory")
    assert memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert "nvidia.com/gpu" not in pod["initContainers"][0]["resources"]["limits"]


def test_hub_is_offline_and_api_key_is_a_reference(release, deliver):
    target = Vllm(api_key_secret={"name": "keys", "key": "chat"})
    pod, container = server(target, release(engine="torch"), deliver())
    variables = {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}
    assert variables["HF_HUB_OFFLINE"] == variables["TRANSFORMERS_OFFLINE"] == "1"
    assert variables["VLLM_API_KEY"] == {"secretKeyRef": {"key": "chat", "name": "keys"}}
    assert target.fetcher == pod["initContainers"][0]["image"] != container["image"]


def test_options_become_arguments_before_the_recipes_own(release, deliver):
    target = Vllm(max_length=4096, max_sequences=32, dtype="float16", arguments=("--enable-prefix-caching",))
    _, container = server(target, release(engine="torch"), deliver())
    assert {"--max-model-len=4096", "--max-num-seqs=32", "--dtype=float16"} < set(container["args"])
    assert container["args"][-1] == "--enable-prefix-caching"


def test_all_images_must_be_pinned_outside_dev(deliver):
    target = Vllm(model_image="registry.example.com/models/tiny:1")
    problems = target.problems(deliver("production", autoscaling="fixed"))
    assert [problem.key for problem in problems] == [
        "deployment.image",
        "deployment.fetch_image",
        "deployment.model_image",
    ]


@pytest.mark.parametrize(
    ("fields", "override"),
    [({"engine": "genai"}, "export=transformers"), ({"task": "seq2seq"}, "deployment=kubernetes")],
)
def test_release_that_vllm_cannot_open_is_refused(release, deliver, fields, override):
    with pytest.raises(ReleaseError, match=f"release.lock: {next(iter(fields))}: .*{override}"):
        Vllm().files(release(**{"engine": "torch", **fields}), deliver())


def test_vllm_needs_a_gpu():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Vllm(gpus=0)
