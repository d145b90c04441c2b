"""The files for one machine, recorded in ``compose/`` beside this file.

``GITUNE_UPDATE_GOLDEN=1 pytest tests/unit/delivery/deployment/test_compose.py`` updates them.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from framework.core.errors import PlanError
from framework.core.release import Release
from framework.delivery.deployment.compose import Compose
from framework.gitops.release_status import ReleaseStatus, rendered_objects
from framework.render import changes, diff_text, write
from framework.server import read_serving

GOLDEN = Path(__file__).parent / "compose"
PINNED = {
    field: f"registry.example.com/{field.partition('_')[0]}@sha256:{'5' * 64}" for field in Compose().images
}
REMOTE = {"model_uri": f"s3://bucket/models/{'1' * 64}"}
CASES = {
    "dev": {"deployment": "compose"},
    "production": {
        "deployment": (
            "compose",
            {**PINNED, "api_key": True, "gpus": 1, "store_variables": ["AWS_ACCESS_KEY_ID"]},
        ),
        "release": REMOTE,
    },
}
MONITORED = {"environment": "dev", "deployment": "compose", "monitoring": "prometheus"}


def interpolated(text):
    """Replace variables as compose does before it parses a file."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "/run/given", text)
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


def test_signature_is_checked_with_signers_from_outside_the_folder(render_with):
    key = f"-----BEGIN PUBLIC KEY-----\n{'A' * 64}\n-----END PUBLIC KEY-----"
    files = render_with(environment=("dev", {"signers": {"keys": [key]}}), deployment="compose")
    project = yaml.safe_load(interpolated(files["dev/tiny/compose.yaml"]))
    assert project["configs"]["signers.json"]["file"] == "/run/given"
    fetch = project["services"]["fetch-model"]
    targets = {item["source"]: item["target"] for item in fetch["configs"]}
    flags = fetch["command"][fetch["command"].index("--signers") :]
    assert flags == ["--signers", targets["signers.json"], "--environment", "dev"]


@pytest.fixture(params=CASES)
def files(request, render_with):
    return render_with(environment=request.param, **CASES[request.param])


@pytest.fixture
def folder(files, tmp_path):
    """Return the release's folder as in Git."""
    write(files, tmp_path)
    return tmp_path / next(iter(files)).rpartition("/")[0]


@pytest.fixture
def project(folder):
    return yaml.safe_load((folder / "compose.yaml").read_text())


def test_rendered_text_matches_the_recorded_one(files):
    if os.environ.get("GITUNE_UPDATE_GOLDEN"):
        write(files, GOLDEN)
    assert diff_text(files, GOLDEN) == ""
    assert changes(files, GOLDEN).foreign == ()


def test_option_file_shows_every_field_with_its_default(shown):
    text, target = shown("compose")
    assert set(text) == set(Compose.model_fields) | {"_target_"}
    assert target == Compose()


def test_second_render_changes_nothing_without_app_json(files, folder):
    assert not write(files, folder.parents[1])
    assert not (folder / "app.json").exists()


def test_status_expects_no_object_in_a_cluster(folder):
    assert rendered_objects(str(folder.parents[1]), ReleaseStatus(folder.parent.name, folder.name)) == {}


def test_compose_parses_the_project(folder, project):
    read = PyCompose.from_yaml(interpolated((folder / "compose.yaml").read_text()))
    assert sorted(read.service_names()) == sorted(project["services"])


def test_every_reference_is_defined(folder, project):
    for name, config in project["configs"].items():
        assert (folder / config["file"]).is_file(), name
    for service in project["services"].values():
        assert {each["source"] for each in service.get("configs", [])} <= set(project["configs"])
        assert set(service.get("secrets", [])) <= set(project["secrets"])
        assert set(service["networks"]) <= set(project["networks"])
        assert set(service.get("depends_on", {})) <= set(project["services"])
        named = {each["source"] for each in service.get("volumes", []) if each["type"] == "volume"}
        assert named <= set(project["volumes"])
    used = [set(service.get("secrets", [])) for service in project["services"].values()]
    assert set.union(*used) == set(project["secrets"])


def test_every_service_is_restricted(project):
    assert set(project["services"]) == {
        "fetch-model",
        "grafana",
        "prometheus",
        "rabbitmq",
        "redis",
        "server",
    }
    for name, service in project["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["user"].partition(":")[0]) > 0
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert service["logging"]["options"] == {"max-file": "5", "max-size": "10m"}
        assert ("healthcheck" in service) == (name != "fetch-model")
        # Only user-facing ports are published; configs and secrets are files, since the root is read-only.
        assert ("ports" in service) == (name in ("grafana", "server"))
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
    assert all(set(each) == {"file"} for kind in ("configs", "secrets") for each in project[kind].values())
    assert project["networks"]["inside"] == {"internal": True}


def test_passwords_are_only_in_secret_files(project):
    secrets = {name: secret["file"] for name, secret in project["secrets"].items()}
    assert all(file.startswith("${GITUNE_SECRETS:?") for file in secrets.values())
    grafana = project["services"]["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana-password"
    for name in ("redis", "rabbitmq"):
        service = project["services"][name]
        assert f"$$(cat /run/secrets/{name}-password)" in service["entrypoint"][-1]
        assert "PASS" not in "".join(service.get("environment", {}))


def test_server_starts_after_the_fetch_with_its_settings(folder, project):
    services = project["services"]
    assert services["server"]["depends_on"] == {
        "fetch-model": {"condition": "service_completed_successfully"}
    }
    assert "--fetch-only" in services["fetch-model"]["command"]
    serving = read_serving(folder / "serving.generated.json")
    assert (serving.host, serving.port) == ("0.0.0.0", 8000)
    assert Release.read(folder / "release.lock").name == "tiny"
    (model,) = (each for each in services["server"]["volumes"] if each["source"] == "model")
    assert model["read_only"] is True


def test_local_store_is_mounted_at_its_path(render_with, tmp_path):
    write(render_with(environment="dev", **CASES["dev"]), tmp_path / "environments")
    compose = tmp_path / "environments/dev/tiny/compose.yaml"
    (store,) = (
        each
        for each in yaml.safe_load(compose.read_text())["services"]["fetch-model"]["volumes"]
        if each["type"] == "bind"
    )
    assert store["target"] == "/srv/.gitune/models"
    default = store["source"].removeprefix("${GITUNE_STORE:-").removesuffix("}")
    assert (compose.parent / default).resolve() == tmp_path / ".gitune" / "models"


def test_production_has_key_gpu_and_store_variables(render_with):
    files = render_with(environment="production", **CASES["production"])
    services = yaml.safe_load(files["production/tiny/compose.yaml"])["services"]
    assert services["server"]["entrypoint"][:2] == ["sh", "-c"]
    line = services["server"]["entrypoint"][2].replace("$$", "$")
    assert line.startswith('GITUNE_API_KEY="$(cat /run/secrets/api-key)" exec python -m framework.server ')
    devices = services["server"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"capabilities": ["gpu"], "count": 1, "driver": "nvidia"}]
    assert "AWS_ACCESS_KEY_ID" in services["fetch-model"]["environment"]
    assert [each["type"] for each in services["fetch-model"]["volumes"]] == ["volume"]


def test_file_of_api_keys_is_a_secret_file(render_with):
    target = {"keys": True, "api_key": True, "address": "0.0.0.0"}
    files = render_with(environment="dev", deployment=("compose", target))
    project = yaml.safe_load(files["dev/tiny/compose.yaml"])
    assert project["services"]["server"]["secrets"] == ["api-key", "keys.yaml"]
    assert {"api-key", "keys.yaml"} <= set(project["secrets"])
    assert json.loads(files["dev/tiny/serving.generated.json"])["keys"] == "/run/secrets/keys.yaml"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("monitoring", ["none", "prometheus"])
def test_prometheus_accepts_config_and_rules(render_with, tmp_path, monitoring):
    write(render_with(**MONITORED | {"monitoring": monitoring}), tmp_path)
    command = ["promtool", "check", "config", "prometheus.yaml"]
    done = subprocess.run(command, cwd=tmp_path / "dev/tiny", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_mounts_every_dashboard(render_with, tmp_path):
    write(render_with(**MONITORED), tmp_path)
    folder = tmp_path / "dev/tiny"
    project = yaml.safe_load((folder / "compose.yaml").read_text())
    paths = {each["source"]: each["target"] for each in project["services"]["grafana"]["configs"]}
    dashboards = [path.name for path in folder.glob("*.generated.json") if "uid" in path.read_text()]
    assert len(dashboards) >= 4
    provider = yaml.safe_load((folder / "grafana-dashboards.yaml").read_text())["providers"][0]
    for name in dashboards:
        assert paths[name].startswith(provider["options"]["path"] + "/")
        assert (folder / project["configs"][name]["file"]).is_file()
    assert yaml.safe_load((folder / "rules.yaml").read_text())["groups"]


def test_dollar_in_the_lock_is_escaped(render_with):
    text = render_with(environment="dev", deployment="compose", release={"base_model": "a $HOME ${x}"})
    project = yaml.safe_load(interpolated(text["dev/tiny/compose.yaml"]))
    assert project["services"]["server"]["labels"]["gitune.dev/base-model"] == "a $HOME ${x}"


def test_images_are_pinned_outside_dev(render_with):
    with pytest.raises(PlanError) as caught:
        render_with(environment="production", deployment="compose")
    assert len(str(caught.value).splitlines()) == len(Compose().images) == 5


@pytest.mark.parametrize(
    ("group", "option", "override"),
    [("secrets", "external-secret", "secrets=none"), ("rollout", "blue-green", "rollout=rolling")],
)
def test_options_that_need_a_cluster_are_refused(render_with, group, option, override):
    with pytest.raises(PlanError, match=override):
        render_with(environment="production", deployment=("compose", PINNED), **{group: option})


def test_open_interfaces_without_a_key_are_refused_outside_dev(render_with):
    opened = ("compose", {**PINNED, "address": "0.0.0.0"})
    with pytest.raises(PlanError) as caught:
        render_with(environment="production", deployment=opened)
    (problem,) = caught.value.problems
    assert problem.overrides == ("deployment.api_key=true", "deployment.address=127.0.0.1")
    render_with(environment="production", deployment=("compose", {**opened[1], "api_key": True}))
    render_with(environment="dev", deployment=opened)
