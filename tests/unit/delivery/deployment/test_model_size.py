"""Disk, memory and time of a pod for the model's size in the lock."""

import pytest

from framework.core.errors import ReleaseError
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.deployment.model_size import model_bytes
from framework.delivery.deployment.triton import Triton
from framework.delivery.deployment.vllm import Vllm

GIB = 2**30
SEVEN_B = {"tuned.size_bytes": 15.2e9, "fp32.size_bytes": 15.2e9, "fp32.agreement": 1.0}
DIGEST = f"@sha256:{'b' * 64}"


@pytest.fixture
def volumes(built):
    def sizes(*arguments):
        pod = built(*arguments)["Deployment"]["spec"]["template"]["spec"]
        asked = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
        return {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v}, asked

    return sizes


def test_released_candidate_is_measured(release):
    metrics = {
        "tuned.size_bytes": 30e9,
        "fp32.size_bytes": 31e9,
        "int4.size_bytes": 4e9,
        "int8.size_bytes": 8e9,
    }
    agreement = dict.fromkeys(("fp32.agreement", "int4.agreement", "int8.agreement"), 1.0)
    judged = dict.fromkeys(("int4.metric_loss", "int8.metric_loss"), 0.0)
    assert model_bytes(release(metrics={**metrics, **agreement, **judged})) == 8_000_000_000
    assert model_bytes(release(metrics=SEVEN_B)) == 15_200_000_000
    assert model_bytes(release(metrics={})) is None


def test_disk_holds_the_model_of_the_lock(volumes, release):
    served = release(engine="torch", metrics=SEVEN_B)
    sizes, asked = volumes(Vllm(), served)
    assert sizes == {"model": "17Gi", "tmp": "20Gi", "shared-memory": "4Gi"}
    assert asked == "37Gi"
    assert 17 * GIB > 1.1 * 15.2e9


def test_copy_for_triton_holds_the_model_too(volumes, release):
    served = release(
        task="sequence-classification",
        engine="onnxruntime",
        metrics={"fp32.size_bytes": 12e9, "fp32.agreement": 1.0},
    )
    target = Triton(startup_seconds=60, model_image=f"registry.example.com/models/x{DIGEST}")
    assert volumes(target, served)[0]["repository"] == "14Gi"


def test_volume_below_the_model_is_refused(built, release):
    served = release(engine="torch", metrics=SEVEN_B)
    with pytest.raises(ReleaseError) as caught:
        built(Vllm(model_space="10Gi"), served)
    (problem,) = caught.value.problems
    assert problem.key == "deployment.model_space"
    assert problem.overrides == ("deployment.model_space=17Gi", "deployment.model_space=null")
    built(Vllm(model_space="17Gi"), served)


@pytest.mark.parametrize("bounded_by", ["deployment", "environment"])
def test_memory_below_the_model_is_refused_without_a_gpu(built, release, environment, bounded_by):
    served = release(metrics={"fp32.size_bytes": 20e9, "fp32.agreement": 1.0})
    small = {"cpu": "4", "memory": "16Gi"}
    where = environment(limits=small if bounded_by == "environment" else None)
    with pytest.raises(ReleaseError) as caught:
        built(Kubernetes(startup_seconds=600), served, environment=where)
    (problem,) = caught.value.problems
    assert problem.key == f"{bounded_by}.limits.memory"
    assert problem.overrides == (f"{bounded_by}.limits.memory=22Gi",)
    built(Kubernetes(startup_seconds=600, gpus=1), served)


def test_time_to_load_below_the_model_is_refused(built, release):
    served = release(metrics=SEVEN_B)
    with pytest.raises(ReleaseError) as caught:
        built(Kubernetes(), served)
    (problem,) = caught.value.problems
    assert problem.key == "deployment.startup_seconds"
    assert problem.overrides == ("deployment.startup_seconds=80",)
    built(Kubernetes(startup_seconds=80), served)
    built(Kubernetes(load_mib_per_second=1000), served)
