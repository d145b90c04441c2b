"""The restricted pod that servers and training jobs share."""

import pytest
from pydantic import ValidationError

from framework.manifests.identity import Identity
from framework.manifests.pod import PodSettings, restricted_container, restricted_pod

IDENTITY = Identity("tiny", "prod", {"app": "tiny"}, {"app": "tiny"}, {})
GPU_TAINT = {"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}


def settings(**fields):
    return PodSettings(
        **{
            "image": "gitune/server:0.1.0",
            "requests": {"cpu": "1", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": "2Gi"},
            "temporary_space": "1Gi",
            **fields,
        }
    )


def pod(gpus=0, **fields):
    chosen = settings()
    container = restricted_container("server", chosen.image, chosen.resources(gpus), [])
    return restricted_pod(
        chosen, IDENTITY, [container], service_account="tiny", grace_seconds=30, volumes=[], **fields
    )


def test_pod_with_gpus_tolerates_their_taint():
    assert "tolerations" not in pod()
    assert pod(gpus=2)["tolerations"] == [GPU_TAINT]


def test_replicas_are_spread_unless_disabled():
    assert pod()["topologySpreadConstraints"]
    assert "topologySpreadConstraints" not in pod(spread=False)


def test_disk_is_only_requested():
    resources = settings().resources(0, disk="5Gi")
    assert resources["requests"]["ephemeral-storage"] == "5Gi"
    assert "ephemeral-storage" not in resources["limits"]


@pytest.mark.parametrize("key", ["cpu", "memory"])
def test_request_above_limit_is_rejected(key):
    crossed = {"cpu": "1", "memory": "1Gi", key: {"cpu": "3", "memory": "3Gi"}[key]}
    with pytest.raises(ValidationError, match=f"'requests.{key}'"):
        settings(requests=crossed)
