"""The Dockerfile agrees with the pods that run the image. Only CI builds it, as it needs Docker."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / ".ci/Dockerfile").read_text()
IGNORE = (ROOT / ".ci/Dockerfile.dockerignore").read_text().split()


@pytest.fixture(scope="module")
def pod() -> dict:
    file = ROOT / "tests/golden/environments/production/tiny/deployment-tiny.yaml"
    return yaml.safe_load(file.read_text())["spec"]["template"]["spec"]


def instruction(name: str) -> list[str]:
    """Return the arguments of each instruction *name* in the last stage."""
    stage = TEXT.rpartition("FROM ")[2].replace("\\\n", " ")
    return [line.partition(" ")[2] for line in stage.splitlines() if line.startswith(f"{name} ")]


def test_base_images_are_pinned_by_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", bases[0])


def test_image_has_the_pods_user_and_folder(pod: dict) -> None:
    context = pod["securityContext"]
    assert instruction("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    container = pod["containers"][0]
    assert instruction("WORKDIR") == [container["workingDir"]]
    assert instruction("EXPOSE") == [str(container["ports"][0]["containerPort"])]
    assert instruction("CMD")[0].startswith(str(container["command"])[:-1].replace("'", '"'))


def test_image_has_the_training_jobs_user() -> None:
    from framework.build.launcher.worker_pod import COMMAND
    from framework.manifests.pod import USER

    assert instruction("USER") == [f"{USER}:{USER}"]
    assert COMMAND[:2] == ("python", "-m")


def test_copied_paths_exist_and_are_not_ignored() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for word in shlex.split(line)[:-1]
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in IGNORE, name


def test_installed_extras_are_declared() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (default,) = re.findall(r"^ARG EXTRAS=(\S+)", TEXT, re.MULTILINE)
    jobs = yaml.safe_load((ROOT / ".github/workflows/image.yaml").read_text())["jobs"]
    images = {image["name"]: image for image in jobs["publish"]["strategy"]["matrix"]["include"]}
    assert images["server"]["extras"] == default
    assert images["server"]["packages"] == ""
    for image in images.values():
        assert set(image["extras"].split(",")) <= extras.keys()
    assert images["trainer"]["extras"] in TEXT  # the comment on building the image by hand


@pytest.mark.slow
def test_installed_package_serves_without_the_checkout(tmp_path: Path) -> None:
    """The wheel contains the server, the options and the recipes."""
    wheel = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, *wheel], check=True)
    (file,) = tmp_path.glob("*.whl")
    for words, expected in (
        (["-m", "framework.server", "--help"], "--fetch-only"),
        (["-m", "framework.cli.main", "plan", "+recipe=tiny"], "publish"),
    ):
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(file), str(tmp_path / "site")], check=True)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)},
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
