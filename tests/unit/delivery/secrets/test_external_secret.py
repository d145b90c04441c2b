import pytest
from pydantic import ValidationError

from framework.delivery.environment.cluster import Cluster
from framework.delivery.secrets.external_secret import ExternalSecret
from framework.manifests.identity import Identity

DEV = Cluster(name="dev", namespace="gitune-dev")
WANTED = {"api": "Opaque", "registry": "kubernetes.io/dockerconfigjson"}
IDENTITY = Identity("tiny", "gitune-dev", {"app": "tiny"}, {"app": "tiny"}, {"gitune.dev/release": "tiny"})


def test_each_secret_is_copied_from_the_store():
    first, second = ExternalSecret(store="vault").objects(IDENTITY, WANTED)
    assert first == {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {
            "annotations": {"gitune.dev/release": "tiny"},
            "labels": {"app": "tiny"},
            "name": "api",
            "namespace": "gitune-dev",
        },
        "spec": {
            "dataFrom": [
                {
                    "extract": {
                        "conversionStrategy": "Default",
                        "decodingStrategy": "None",
                        "key": "gitune-dev/api",
                        "metadataPolicy": "None",
                    }
                }
            ],
            "refreshInterval": "1h0m0s",
            "refreshPolicy": "Periodic",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
            "target": {
                "creationPolicy": "Owner",
                "deletionPolicy": "Retain",
                "name": "api",
                "template": {"engineVersion": "v2", "mergePolicy": "Replace", "type": "Opaque"},
            },
        },
    }
    assert second["spec"]["target"]["template"]["type"] == "kubernetes.io/dockerconfigjson"


def test_vault_key_follows_its_pattern():
    option = ExternalSecret(store="vault", remote_key="kv/{release}/{namespace}/{secret}", refresh_minutes=5)
    (copied,) = option.objects(IDENTITY, {"api": "Opaque"})
    assert copied["spec"]["dataFrom"][0]["extract"]["key"] == "kv/tiny/gitune-dev/api"
    assert copied["spec"]["refreshInterval"] == "5m0s"


@pytest.mark.parametrize("pattern", ["kv/api", "kv/{secret}/{user}", "{secret.__class__}"])
def test_pattern_with_unknown_placeholder_is_rejected(pattern):
    with pytest.raises(ValidationError, match=r"remote_key\n.*\{secret\}"):
        ExternalSecret(store="vault", remote_key=pattern)


def test_store_is_required_with_a_secret():
    assert ExternalSecret().problems({}, DEV) == []
    assert ExternalSecret(store="vault").problems(WANTED, DEV) == []
    (problem,) = ExternalSecret().problems(WANTED, DEV)
    assert problem.overrides == ("secrets.store=<name>",)
