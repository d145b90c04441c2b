"""The pages of docs/extending work as written: as a plugin, and in a clone of this repository."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
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


def files(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by their path in a clone."""
    return dict(FILE.findall(page.read_text(encoding="utf-8")))


def as_plugin(shown: dict[str, str]) -> dict[str, str]:
    """Return the same files as a team's own package ``team``."""
    names: dict[str, str] = {}
    for path in shown:
        if path.startswith("framework/"):
            name = Path(path).stem
            taken = f"team.{name}" in names.values()
            names[path.removesuffix(".py").replace("/", ".")] = f"team.{name}{'_export' if taken else ''}"
    moved = {}
    for path, text in shown.items():
        for ours, theirs in names.items():
            text = text.replace(ours, theirs)
        ours = path.removesuffix(".py").replace("/", ".")
        moved[f"{names[ours].replace('.', '/')}.py" if ours in names else path] = text
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


def overrides(name: str) -> list[str]:
    """Return the overrides of a page's first command."""
    return [word for word in commands(ROOT / f"docs/extending/{name}.md")[0] if word != "plan"]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, run) -> Path:
    """A folder outside the clone: all pages as a plugin, after one run with most of them together."""
    folder = tmp_path_factory.mktemp("team")
    for page in PAGES:
        write(folder, as_plugin(files(page)))
    rows = [json.loads(line) for line in (ROOT / "recipes/data/tiny/train.jsonl").read_text().splitlines()]
    with closing(sqlite3.connect(folder / "rows.db")) as database, database:
        database.execute("CREATE TABLE rows (prompt TEXT, completion TEXT)")
        pairs = [[message["content"] for message in row["messages"]] for row in rows]
        database.executemany("INSERT INTO rows VALUES (?, ?)", pairs)
    names = ("data-source", "tuning-method", "export", "launcher")
    words = dict.fromkeys(word for name in names for word in overrides(name))
    done = run(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def artifact(folder: Path, stage: str, pattern: str) -> Path:
    """Return the only file of a stage that matches *pattern*."""
    (file,) = (folder / ".gitune/store" / stage).glob(f"*/{pattern}")
    return file


def lock(folder: Path) -> Path:
    return folder / "environments/dev/tiny/release.lock"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_can_be_planned(run, team: Path, page: Path) -> None:
    assert commands(page)
    for words in commands(page):
        if words[0] != "render":
            done = run(team, "plan", *(word for word in words if word != "plan"))
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_options_of_the_pages_are_in_the_help(run, team: Path) -> None:
    shown = run(team, "--help").stdout
    for page in PAGES:
        for path in files(page):
            if path.startswith("conf/"):
                assert Path(path).stem in shown


@pytest.mark.slow
def test_a_data_source_is_read_and_split(team: Path) -> None:
    (summary,) = (team / ".gitune/store/read").glob("*/summary.json")
    splits = json.loads(summary.read_text())
    rows = len((ROOT / "recipes/data/tiny/train.jsonl").read_text().splitlines())
    assert splits["train"]["rows"] + splits["test"]["rows"] == rows
    assert 0 < splits["test"]["rows"] < rows / 2


@pytest.mark.slow
def test_a_tuning_method_saves_its_weights_only(team: Path) -> None:
    from safetensors import safe_open

    with safe_open(artifact(team, "tune", "norms.safetensors"), "pt") as saved:
        names = list(saved.keys())
    assert len(names) == 5  # two in each of two layers, and the last one
    assert all("norm" in name for name in names)


@pytest.mark.slow
def test_an_export_is_measured_and_published(team: Path) -> None:
    index = artifact(team, "export", "model.safetensors.index.json")
    assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
    release = Release.read(lock(team))
    assert release.engine == "torch"
    assert release.metrics["fp32.max_difference"] == 0
    assert (team / release.model_uri.removeprefix("file://") / index.name).is_file()


@pytest.mark.slow
def test_a_launcher_ran_the_worker(team: Path) -> None:
    (job,) = (team / ".gitune/store/jobs").glob("*.json")
    steps = json.loads(job.read_text())
    assert len(steps["pending"]) == steps["total"]


@pytest.mark.slow
def test_a_signal_ends_the_worker_of_a_launcher(start, team: Path) -> None:
    words = [*overrides("launcher"), "seed=2"]
    runner = start(team, *words)
    lines = iter(runner.stdout.readline, "")
    assert any(line.startswith("[") for line in lines)  # the worker has begun its first step
    runner.send_signal(signal.SIGTERM)
    output = "".join(lines)  # to the end: the worker shares this pipe, so it has ended too
    assert runner.wait(60) == 143
    assert "Stopped by SIGTERM" in output


@pytest.mark.slow
def test_a_launcher_command_that_fails_is_reported(run, team: Path) -> None:
    words = [*overrides("launcher")[:-2], "seed=1"]
    missing = run(team, *words, "launcher.command=[no-such-command]")
    assert (missing.returncode, "launcher.command" in missing.stderr) == (1, True), missing.stderr
    failed = run(team, *words, "launcher.command=['false']")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_an_engine_measures_what_the_export_names_it_for(run, team: Path, tmp_path: Path) -> None:
    shutil.copytree(team, tmp_path, dirs_exist_ok=True)
    shared = [word for name in ("data-source", "tuning-method") for word in overrides(name)]
    done = run(tmp_path, *dict.fromkeys([*shared, *overrides("engine")]))
    assert done.returncode == 0, done.stdout + done.stderr
    release = Release.read(lock(tmp_path))
    assert release.engine == "team.unbatched"
    assert release.metrics["fp32.max_difference"] < 1e-4
    assert release.metrics["fp32.generation_agreement"] == 1


@pytest.mark.slow
def test_a_deployment_target_is_rendered(run, team: Path, tmp_path: Path) -> None:
    shutil.copytree(team, tmp_path, dirs_exist_ok=True)
    (words,) = (
        words for words in commands(ROOT / "docs/extending/deployment-target.md") if words[0] == "render"
    )
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    (deployment,) = lock(tmp_path).parent.glob("deployment-*.yaml")
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


GENERATED = {
    "tests/golden/test_reference.py",
    "tests/golden/test_versions.py",
    "tests/unit/config/test_jsonschema.py",
}
"""The tests that fail while a generated file is out of date."""
CHECKS = (*sorted(GENERATED), "tests/unit/test_mirror.py")
"""Every test that looks at all options."""
SELECTED = "up_to_date or without_its_version or test_mirror"
RUN = "from framework.cli.main import main; main()"


def failures(folder: Path, **variables: str) -> set[str]:
    """Return the files of ``CHECKS`` with a failure in a selected test."""
    done = call(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHECKS, "-k", SELECTED, **variables)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return set(re.findall(r"^FAILED (\S+?)::", done.stdout, re.M))


@pytest.mark.slow
def test_a_clone_needs_only_what_contributing_says(clone: Path) -> None:
    """The reference, the schema and the version guard, which ``just docs`` and ``just golden`` renew."""
    assert failures(clone) == GENERATED
    assert call(clone, "docs/reference.py").returncode == 0
    schema = call(clone, "-c", f"import sys; sys.argv = ['run', 'schema']; {RUN}")
    assert schema.returncode == 0, schema.stderr
    (clone / "recipes/schema.json").write_text(schema.stdout, encoding="utf-8")
    assert failures(clone, GITUNE_UPDATE_GOLDEN="1") == set()
    reference = (clone / "docs/reference.md").read_text(encoding="utf-8")
    for page in (*PAGES, README):
        for path in files(page):
            if path.startswith("conf/"):
                _, group, name = Path(path).with_suffix("").parts
                assert f"{group}={name}" in reference


@pytest.mark.slow  # as CI's slow tests run beside the development tools
def test_code_on_the_pages_passes_the_linters(clone: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is a development tool: pip install 'gitune[dev]'")
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
