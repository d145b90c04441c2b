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
JOBS = yaml.safe_load((ROOT / ".github/workflows/image.yaml").read_text())["jobs"]


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
    images = {image["name"]: image for image in JOBS["publish"]["strategy"]["matrix"]["include"]}
    assert images["server"]["extras"] == default
    assert images["server"]["packages"] == ""
    for image in images.values():
        assert set(image["extras"].split(",")) <= extras.keys()
    assert images["trainer"]["extras"] in TEXT  # the comment on building the image by hand


@pytest.mark.parametrize(
    ("version", "device", "fix"),
    [
        ("cuda = None", "cpu", None),
        ("cuda: str | None = '13.0'", "cuda", None),
        (
            "cuda = '13.0'",
            "cpu",
            "TORCH_INDEX to an index that has torch for cpu, or --build-arg DEVICE=cuda",
        ),
        ("cuda = None", "cuda", "TORCH_INDEX to an index that has torch for cuda, or --build-arg DEVICE=cpu"),
        ("cuda = None\nhip = '7.0'", "cpu", "TORCH_INDEX to an index that has torch for cpu"),
        ("cuda = None", "tpu", "--build-arg DEVICE=cpu, or cuda"),
    ],
)
def test_torch_of_another_device_stops_the_build(tmp_path: Path, version: str, device: str, fix: str) -> None:
    """Without importing torch, whose libraries are not there yet."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.13.0'\n{version}\n")
    command = [sys.executable, str(ROOT / ".ci/require_torch.py"), device]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, text=True, capture_output=True)
    assert (done.returncode == 0) == (fix is None), done.stderr
    assert fix is None or fix in done.stderr


def test_every_image_is_scanned_before_it_is_signed() -> None:
    pushed = {f"{row['name']}-{row['arch']}" for row in JOBS["publish"]["strategy"]["matrix"]["include"]}
    assert pushed == {*JOBS["publish"]["outputs"]} == {"server-amd64", "server-arm64", "trainer-amd64"}

    def digests(job: str, key: str) -> set[str]:
        rows = JOBS[job]["strategy"]["matrix"]["include"]
        return {name for row in rows for name in re.findall(r"publish\.outputs\.([\w-]+)", row[key])}

    assert digests("scan", "digest") == digests("sign", "digests") == pushed
    assert {*JOBS["sign"]["needs"]} == {"publish", "scan"}
    for job in ("build", "scan"):
        (scan,) = (step for step in JOBS[job]["steps"] if "scan-action" in step.get("uses", ""))
        assert scan["with"]["severity-cutoff"] == "high"
        assert scan["with"]["only-fixed"] is True
        assert "fail-build" not in scan["with"]  # it fails by default


def ran(tmp_path: Path, job: str, step: int, environ: dict[str, str]) -> tuple[int, str]:
    """Run a script of the workflow in *tmp_path*; return its exit code and outputs."""
    script = [each["run"] for each in JOBS[job]["steps"] if "run" in each][step]
    outputs = tmp_path / "outputs"
    outputs.write_text("")
    command = ["bash", "-eo", "pipefail", "-c", script]
    path = f"{tmp_path}:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(tmp_path), "GITHUB_OUTPUT": str(outputs), **environ}
    done = subprocess.run(command, cwd=tmp_path, env=environ, text=True, capture_output=True)
    return done.returncode, outputs.read_text()


@pytest.mark.parametrize(
    ("results", "passes"),
    [
        ("success success", True),
        ("success skipped", True),
        ("success failure", False),
        ("failure skipped", False),
        ("success cancelled", False),
    ],
)
def test_required_check_passes_only_if_nothing_failed(tmp_path: Path, results: str, passes: bool) -> None:
    assert (ran(tmp_path, "image", 0, {"RESULTS": results})[0] == 0) == passes


def test_image_is_built_where_its_files_change(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    (tmp_path / ".gitignore").write_text("outputs\n")
    for name, expected in (("README.md", ""), ("constraints.txt", "constraints.txt")):
        git("add", ".")
        git("commit", "--quiet", "--allow-empty", "--message", "base")
        (tmp_path / name).write_text("changed")
        git("add", ".")
        git("commit", "--quiet", "--message", "change")
        assert ran(tmp_path, "changes", 0, {"BASE": "HEAD~1"}) == (0, f"files={expected}\n")
    assert ran(tmp_path, "changes", 0, {"BASE": "no-such-commit"})[0] != 0


@pytest.mark.parametrize(
    ("digests", "sources"),
    [
        (
            "sha256:1,sha256:2",
            ["ghcr.io/gitune/example/server@sha256:1", "ghcr.io/gitune/example/server@sha256:2"],
        ),
        # An image that is missing is named without a digest, which Docker refuses.
        ("sha256:1,", ["ghcr.io/gitune/example/server@sha256:1", "ghcr.io/gitune/example/server@"]),
    ],
)
def test_image_of_all_architectures_leaves_none_out(tmp_path: Path, digests: str, sources: list[str]) -> None:
    (tmp_path / "docker").write_text(
        "#!/bin/sh\n"
        'if [ "$3" = create ]; then echo "$@" > created; else echo \'{"digest": "sha256:3"}\'; fi\n'
    )
    (tmp_path / "docker").chmod(0o755)
    environ = {
        "GITHUB_REPOSITORY": "Gitune/example",
        "GITHUB_SHA": "abc",
        "NAME": "server",
        "DIGESTS": digests,
    }
    code, outputs = ran(tmp_path, "sign", 0, environ)
    assert (code, outputs) == (0, "image=ghcr.io/gitune/example/server@sha256:3\n")
    assert (tmp_path / "created").read_text().split()[3:] == [
        "--tag",
        "ghcr.io/gitune/example/server:abc",
        *sources,
    ]


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
