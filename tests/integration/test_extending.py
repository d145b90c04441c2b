"""The pages of docs/extending work as written: as a plugin, and in a clone of this repository."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framework.core.release import Release

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for page in (ROOT / "docs/extending").glob("*.md") if "\n```python\n" in page.read_text("utf-8")
)
README = ROOT / "README.md"
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.M | re.S)
OPTION = re.compile(r"^framework/(?:build|delivery)/(\w+)/(\w+)\.py$")


def files(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by their path in a clone."""
    return dict(FILE.findall(page.read_text(encoding="utf-8")))


def as_plugin(shown: dict[str, str]) -> dict[str, str]:
    """Return the same files as a team's own package ``team``."""
    names = {}
    for path in shown:
        if path.startswith("framework/"):
            names[path.removesuffix(".py").replace("/", ".")] = f"team.{Path(path).stem}"
    moved = {}
    for path, text in shown.items():
        for ours, theirs in names.items():
            text = text.replace(ours, theirs)
        moved[path if path.startswith("conf/") else f"team/{Path(path).name}"] = text
    return moved


def write(folder: Path, shown: dict[str, str]) -> None:
    for path, text in shown.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of every ``run`` command in the section *Try it*."""
    section = page.read_text(encoding="utf-8").partition("## Try it\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.S) for line in block.splitlines()]
    assert all(line.startswith("run ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def team(request: pytest.FixtureRequest, built_tiny: Path, tmp_path: Path) -> Path:
    """A folder outside the clone, after ``run +recipe=tiny``, with a page's files as a plugin."""
    shutil.copytree(built_tiny, tmp_path, dirs_exist_ok=True)
    write(tmp_path, as_plugin(files(ROOT / "docs/extending" / f"{request.param}.md")))
    return tmp_path


def run_page(run, folder: Path, name: str) -> str:
    """Run every command of a page; return the output of the last one."""
    page = ROOT / "docs/extending" / f"{name}.md"
    assert commands(page)
    for words in commands(page):
        done = run(folder, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def artifact(folder: Path, stage: str, pattern: str) -> Path:
    """Return the only file of a stage that matches *pattern*."""
    (file,) = (folder / ".gitune/store" / stage).glob(f"*/{pattern}")
    return file


@pytest.mark.parametrize("team", ["tuning-method"], indirect=True)
def test_a_tuning_method_trains_its_weights_only(run, team: Path) -> None:
    from safetensors import safe_open

    run_page(run, team, "tuning-method")
    with safe_open(artifact(team, "tune", "norms.safetensors"), "pt") as saved:
        assert len(saved.keys()) == 5  # two in each of two layers, and the last one
        assert all("norm" in name for name in saved.keys())  # noqa: SIM118
    assert "norms" in run(team, "--help").stdout


@pytest.mark.parametrize("team", ["export"], indirect=True)
def test_an_export_is_measured_and_published(run, team: Path) -> None:
    run_page(run, team, "export")
    index = artifact(team, "export", "model.safetensors.index.json")
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    release = Release.read(team / "environments/dev/tiny/release.lock")
    assert release.engine == "torch"
    assert release.metrics["fp32.max_difference"] == 0
    assert (team / release.model_uri.removeprefix("file://") / index.name).is_file()


@pytest.mark.parametrize("team", ["deployment-target"], indirect=True)
def test_a_deployment_target_is_rendered(run, team: Path) -> None:
    lock = team / "environments/dev/tiny/release.lock"
    lock.write_text(Release.read(lock).model_copy(update={"engine": "torch"}).text(), encoding="utf-8")
    run_page(run, team, "deployment-target")
    (deployment,) = lock.parent.glob("deployment-*.yaml")
    (server,) = yaml.safe_load(deployment.read_text())["spec"]["template"]["spec"]["containers"]
    assert server["image"].startswith("lmsysorg/sglang:")
    assert "--served-model-name=tiny" in server["args"]
    assert server["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that generated files depend on, with the files of all pages and README."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("benchmarks", "conf", "docs", "framework", "recipes", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for page in (*PAGES, README):
        write(folder, files(page))
    return folder


def call(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **variables}
    environ.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environ, text=True, capture_output=True, check=False)


CHECKS = (
    "tests/golden/test_reference.py",
    "tests/golden/test_versions.py::test_no_stage_changed_without_its_version",
    "tests/unit/config/test_jsonschema.py::test_the_committed_schema_is_what_run_schema_prints",
    "tests/unit/test_mirror.py",
)
"""Every test that looks at all options."""
RUN = "from framework.cli.main import main; main()"


def failures(folder: Path, **variables: str) -> set[str]:
    """Return the files of ``CHECKS`` that have a failure."""
    done = call(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHECKS, **variables)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return set(re.findall(r"^FAILED (\S+?)::", done.stdout, re.M))


def test_a_clone_needs_only_what_contributing_says(clone: Path) -> None:
    """The reference, the schema and the version guard, which ``just docs`` and ``just golden`` renew."""
    generated = {check.partition("::")[0] for check in CHECKS} - {"tests/unit/test_mirror.py"}
    assert failures(clone) == generated
    assert call(clone, "docs/reference.py").returncode == 0
    schema = call(clone, "-c", f"import sys; sys.argv = ['run', 'schema']; {RUN}")
    assert schema.returncode == 0, schema.stderr
    (clone / "recipes/schema.json").write_text(schema.stdout, encoding="utf-8")
    assert failures(clone, GITUNE_UPDATE_GOLDEN="1") == set()
    for page in (*PAGES, README):
        for path in files(page):
            if match := OPTION.match(path):
                group, option = match.groups()
                assert f"{group}={option.replace('_', '-')}" in (clone / "docs/reference.md").read_text()


def test_code_on_the_pages_passes_the_linters(clone: Path) -> None:
    paths = [path for page in (*PAGES, README) for path in files(page) if path.endswith(".py")]
    assert paths
    for words in (("check", "--no-cache"), ("format", "--no-cache", "--check", "--diff")):
        done = call(clone, "-m", "ruff", *words, *paths)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_a_class_and_its_option(page: Path) -> None:
    shown = files(page)
    targets = [yaml.safe_load(text)["_target_"] for path, text in shown.items() if path.startswith("conf/")]
    assert targets
    for target in targets:
        module, _, name = target.rpartition(".")
        assert f"class {name}(" in shown[f"{module.replace('.', '/')}.py"]
    index = (ROOT / "docs/extending/index.md").read_text(encoding="utf-8")
    assert f"]({page.name})" in index
