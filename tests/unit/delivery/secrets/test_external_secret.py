import pytest
from pydantic import ValidationError

from framework.delivery.environment.cluster import Cluster
from framework.delivery.secrets.external_secret import ExternalSecret
from framework.manifests.identity import Identity

DEV = Cluster(name="dev", namespace="gitune-dev")
WANTED = {"api": "Opaque", "registry": "kubernetes.io/dockerconfigjson"}
IDENTITY = Identity("tiny", "gitune-dev", {"app": "tiny"}, {"app": "tiny"}, {"gitune.dev/release": "tiny"})


def test_each_secret_is_copied_whole_from_the_store_that_is_named():
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


def test_the_key_in_the_vault_follows_its_pattern():
    option = ExternalSecret(store="vault", remote_key="kv/{release}/{namespace}/{secret}", refresh_minutes=5)
    (found,) = option.objects(IDENTITY, {"api": "Opaque"})
    assert found["spec"]["dataFrom"][0]["extract"]["key"] == "kv/tiny/gitune-dev/api"
    assert found["spec"]["refreshInterval"] == "5m0s"


@pytest.mark.parametrize("pattern", ["kv/api", "kv/{secret}/{user}", "{secret.__class__}"])
def test_a_pattern_that_no_vault_could_follow_is_refused(pattern):
    with pytest.raises(ValidationError, match=r"should hold \{secret\}"):
        ExternalSecret(store="vault", remote_key=pattern)


def test_a_store_must_be_named_as_soon_as_there_is_a_secret():
    assert ExternalSecret().problems({}, DEV) == []
    assert ExternalSecret(store="vault").problems(WANTED, DEV) == []
    (problem,) = ExternalSecret().problems(WANTED, DEV)
    assert problem.overrides == ("secrets.store=<name>",)
