import base64
import os

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from framework.core.errors import PlanError
from framework.delivery.environment.cluster import Cluster
from framework.delivery.secrets.sealed_secret import SealedSecret
from framework.manifests.identity import Identity

DEV = Cluster(name="dev", namespace="gitune-dev")
IDENTITY = Identity("tiny", "gitune-dev", {"app": "tiny"}, {"app": "tiny"}, {"gitune.dev/release": "tiny"})
PLAIN = base64.b64encode(b"hunter2" * 60).decode()


@pytest.fixture(scope="module")
def sealed():
    """Encrypt as kubeseal does: length and RSA-OAEP-wrapped session key, then AES-GCM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    session = os.urandom(32)
    oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=b"gitune-dev/api")
    wrapped = key.encrypt(session, oaep)
    text = AESGCM(session).encrypt(bytes(12), b"hunter2", None)
    return base64.b64encode(len(wrapped).to_bytes(2, "big") + wrapped + text).decode()


@pytest.fixture
def write(tmp_path, monkeypatch, sealed):
    """Write the file of the Secret ``api``, valid except for the given values."""
    monkeypatch.chdir(tmp_path)

    def call(kind="SealedSecret", namespace="gitune-dev", template=None, encrypted=None, annotations=None):
        body = {
            "apiVersion": "bitnami.com/v1alpha1" if kind == "SealedSecret" else "v1",
            "kind": kind,
            "metadata": {"name": "api", "namespace": namespace, "annotations": annotations},
            "spec": {
                "encryptedData": {"api-key": sealed} if encrypted is None else encrypted,
                "template": {"metadata": {"name": "api", "namespace": namespace}, **(template or {})},
            },
        }
        path = tmp_path / "secrets" / "gitune-dev" / "api.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(body))
        return path

    return call


def test_sealed_file_is_rendered_with_release_labels(write, sealed):
    write()
    assert SealedSecret().problems({"api": "Opaque"}, DEV) == []
    assert SealedSecret().objects(IDENTITY, {"api": "Opaque"}) == [
        {
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {
                "annotations": {"gitune.dev/release": "tiny"},
                "labels": {"app": "tiny"},
                "name": "api",
                "namespace": "gitune-dev",
            },
            "spec": {
                "encryptedData": {"api-key": sealed},
                "template": {"metadata": {"name": "api", "namespace": "gitune-dev"}, "type": "Opaque"},
            },
        }
    ]


def test_image_pull_secret_keeps_its_type(write):
    write(template={"type": "kubernetes.io/dockerconfigjson"})
    wanted = {"api": "kubernetes.io/dockerconfigjson"}
    (sealed,) = SealedSecret().objects(IDENTITY, wanted)
    assert sealed["spec"]["template"]["type"] == wanted["api"]


def test_namespace_wide_scope_is_kept(write):
    write(annotations={"sealedsecrets.bitnami.com/namespace-wide": "true", "note": "dropped"})
    (sealed,) = SealedSecret().objects(IDENTITY, {"api": "Opaque"})
    scope = {"sealedsecrets.bitnami.com/namespace-wide": "true"}
    assert sealed["metadata"]["annotations"] == {"gitune.dev/release": "tiny", **scope}
    assert sealed["spec"]["template"]["metadata"]["annotations"] == scope


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "Secret"}, "holds a Secret of v1, not a SealedSecret"),
        ({"namespace": "gitune-production"}, "is sealed for 'gitune-production/api'"),
        ({"template": {"type": "kubernetes.io/tls"}}, "is of type kubernetes.io/tls, not Opaque"),
        ({"template": {"stringData": {"api-key": "hunter2"}}}, "holds plain-text values"),
        ({"encrypted": {}}, "holds plain-text values, or none at all"),
        ({"encrypted": {"api-key": PLAIN}}, "the value of 'api-key' is not encrypted"),
        ({"encrypted": {"api-key": "hunter2"}}, "the value of 'api-key' is not encrypted"),
        ({"encrypted": {"api-key": 7}}, "the value of 'api-key' is not encrypted"),
    ],
)
def test_invalid_sealed_file_is_refused(write, values, reason):
    path = write(**values)
    (problem,) = SealedSecret().problems({"api": "Opaque"}, DEV)
    assert problem.reason.startswith(f"secrets/gitune-dev/api.yaml: {reason}")
    assert (
        f"kubeseal --namespace gitune-dev --format yaml < secret.yaml > {path.relative_to(path.parents[2])}"
        in problem.advice
    )
    with pytest.raises(PlanError, match="seal it again"):
        SealedSecret().objects(IDENTITY, {"api": "Opaque"})


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "kind: SealedSecret"])
def test_other_file_content_is_one_sentence(write, text):
    write().write_text(text)
    (problem,) = SealedSecret().problems({"api": "Opaque"}, DEV)
    assert "\n" not in str(problem)
    assert "seal it again" in problem.advice


def test_missing_file_names_the_command_that_creates_it(write):
    write().unlink()
    (problem,) = SealedSecret().problems({"api": "Opaque"}, DEV)
    assert problem.key == "secrets"
    assert "'api'" in problem.reason
    assert "kubeseal" in problem.advice
