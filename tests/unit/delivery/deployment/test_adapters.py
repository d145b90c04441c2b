"""Pods fetch the adapters that are served beside the model, where their store is the model's."""

import json

import pytest
import yaml
from signing_keys import key_pair

from framework.core.errors import ReleaseError
from framework.delivery.deployment.compose import Compose
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.serving.http import HttpServing

MODELS = "s3://bucket/models"
REMOTE = {"model_uri": f"{MODELS}/{'1' * 64}"}
PIN = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
KUBERNETES = Kubernetes(image=PIN)


def serving(store: str = MODELS) -> HttpServing:
    return HttpServing(adapters={"support": f"{store}/{'2' * 64}"})


def document(files: dict[str, str], name: str):
    (text,) = (text for path, text in files.items() if path.rpartition("/")[2] == name)
    return yaml.safe_load(text)


def pod_of(files: dict[str, str]):
    return document(files, "deployment-tiny.yaml")["spec"]["template"]["spec"]


def test_init_container_reads_the_settings_that_name_them(render_with) -> None:
    files = render_with(REMOTE, deployment=KUBERNETES, serving=serving())
    pod = pod_of(files)
    (init,), (server,) = pod["initContainers"], pod["containers"]
    assert "--fetch-only" in init["args"]
    config = init["args"][init["args"].index("--config") + 1]
    assert config == server["args"][server["args"].index("--config") + 1]
    (folder,) = (mount["mountPath"] for mount in init["volumeMounts"] if mount["name"] == "config")
    settings = document(files, "configmap-tiny.yaml")["data"][config.removeprefix(f"{folder}/")]
    assert json.loads(settings)["adapters"] == serving().adapters


def test_init_container_of_a_release_alone_needs_no_settings(render_with) -> None:
    files = render_with(REMOTE, deployment=KUBERNETES, serving=HttpServing())
    assert "--config" not in pod_of(files)["initContainers"][0]["args"]


def test_compose_mounts_the_settings_into_the_fetcher(render_with) -> None:
    files = render_with(REMOTE, deployment=Compose(image=PIN), serving=serving(), environment="dev")
    fetcher = document(files, "compose.yaml")["services"]["fetch-model"]
    config = fetcher["command"][fetcher["command"].index("--config") + 1]
    assert config in [mount["target"] for mount in fetcher["configs"]]


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ({"serving": serving("s3://other/models")}, f"publish it there: {MODELS}/"),
        ({"serving": HttpServing(adapters={"support": "runs/support"})}, f"publish it there: {MODELS}/"),
        ({"deployment": Kubernetes(image=PIN, model_image=PIN)}, "deployment.model_image"),
    ],
)
def test_what_pods_could_not_fetch_or_trust_is_refused(render_with, choice, why) -> None:
    with pytest.raises(ReleaseError, match=why):
        render_with(REMOTE, **{"deployment": KUBERNETES, "serving": serving(), **choice})


def test_adapters_that_no_signature_covers_are_refused(render_with, tmp_path) -> None:
    key = key_pair(tmp_path, "ours")[1].read_text()
    place = ("production", {"signers": {"keys": [key]}})
    with pytest.raises(ReleaseError, match="signature does not cover"):
        render_with(REMOTE, deployment=KUBERNETES, serving=serving(), environment=place)
