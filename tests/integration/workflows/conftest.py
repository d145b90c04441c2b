"""A small GitHub: a bare repository, `act` as its runner, and a fake `gh`.

Workflows run unchanged, on this machine and without Docker. Services are replaced by fakes:
`actions/setup-python` finds this interpreter, `pip install` only records its arguments, and `gh` keeps
comments, pull requests and issues in a file.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
REPOSITORY = "gitune/example"
_TRACKED = (".github", "conf", "environments", "framework", "recipes", "constraints.txt", "pyproject.toml")
_ACTIONS = {"actions/setup-python": "setup-python", "actions/create-github-app-token": "app-token"}
_RECIPES = ("quickstart", "tiny", "tiny-preference")
_LABELS = ("ubuntu-24.04", "self-hosted", "linux", "gpu")
_GH = Path(__file__).parent / "far_end.py"


@dataclass
class Ran:
    """One run of a workflow."""

    returncode: int
    output: str
    """The log. A step's summary follows the word ``Summary``."""


@dataclass
class Hub:
    """The repository, its clones, and its runner."""

    folder: Path
    environ: dict[str, str]
    runs: list[str] = field(default_factory=list)
    _counting: Any = field(default_factory=threading.Lock)

    @staticmethod
    def git(folder: Path, *words: str) -> str:
        """Return what Git prints."""
        done = subprocess.run(["git", *words], cwd=folder, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    @staticmethod
    def pins() -> set[tuple[str, str]]:
        """Return each faked action with its pin, as the workflows and actions use it."""
        files = [
            file
            for folder in ("workflows", "actions")
            for file in (ROOT / ".github" / folder).rglob("*.yaml")
        ]
        uses = re.findall(r"uses: (([\w-]+/[\w-]+)@\S+)", "\n".join(file.read_text() for file in files))
        return {(name, pin) for pin, name in uses if name in _ACTIONS}

    @property
    def bare(self) -> Path:
        return self.folder / "hub.git"

    def clone(self, name: str, branch: str = "main") -> Path:
        """Return a fresh clone."""
        self.git(self.folder, "clone", "--quiet", "--branch", branch, str(self.bare), name)
        folder = self.folder / name
        self.git(folder, "config", "user.name", "Someone")
        self.git(folder, "config", "user.email", "someone@example.com")
        return folder

    def commit(self, clone: Path, message: str, branch: str) -> str:
        """Commit all changes in *clone*, push them to *branch* and return the commit."""
        self.git(clone, "add", "--all")
        self.git(clone, "commit", "--quiet", "--message", message)
        self.git(clone, "push", "--quiet", "origin", f"HEAD:{branch}")
        return self.git(clone, "rev-parse", "HEAD")

    def merge(self, branch: str) -> tuple[str, str]:
        """Merge *branch* as GitHub does; return main's commit before and after."""
        before = self.git(self.bare, "rev-parse", "main")
        clone = self.clone(f"merge-{before[:12]}")
        self.git(clone, "merge", "--quiet", "--no-ff", "--no-edit", f"origin/{branch}")
        self.git(clone, "push", "--quiet", "origin", "HEAD:main", f":{branch}")
        return before, self.git(clone, "rev-parse", "HEAD")

    def show(self, name: str, ref: str = "main") -> str:
        """Return a file's text."""
        return self.git(self.bare, "show", f"{ref}:{name}")

    def state(self) -> dict[str, Any]:
        """Return what the fakes recorded: comments, pulls, issues, calls of gh and pip."""
        file = self.folder / "far-end" / "state.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def run(
        self, workflow: str, event: str, payload: dict[str, Any], branch: str = "main", app: bool = False
    ) -> Ran:
        """Run *workflow* on the newest commit of *branch*, as GitHub would for *event*.

        Args:
            workflow: the name of its file without the suffix.
            event: its name, such as ``push``.
            payload: the event's data, as GitHub sends it.
            branch: the branch to check out.
            app: whether the bot is a GitHub App.
        """
        with self._counting:
            name = f"run-{len(self.runs)}"
            self.runs.append(name)
        clone = self.clone(name, branch)
        files = self.folder / f"{name}-files"
        files.mkdir()
        (files / "event.json").write_text(json.dumps({"repository": {"full_name": REPOSITORY}, **payload}))
        inputs = [f"--input={key}={value}" for key, value in payload.get("inputs", {}).items()]
        command = [
            *("act", event, "--workflows", f".github/workflows/{workflow}.yaml"),
            *("--eventpath", str(files / "event.json"), "--action-cache-path", str(files / "cache")),
            *("--no-cache-server", "--defaultbranch", "main", "--env", f"GITHUB_REPOSITORY={REPOSITORY}"),
            *("--secret", "GITHUB_TOKEN=the-jobs-own-token", "--concurrent-jobs", "1"),
            *(word for label in _LABELS for word in ("--platform", f"{label}=-self-hosted")),
            *(f"--local-repository={pin}={self.folder / _ACTIONS[name]}" for name, pin in self.pins()),
            *(("--var", "BOT_CLIENT_ID=Iv1.bot", "--secret", "BOT_PRIVATE_KEY=key") if app else ()),
            *inputs,
        ]
        environ = {**self.environ, "TMPDIR": str(files)}
        done = subprocess.run(command, cwd=clone, env=environ, text=True, capture_output=True, timeout=540)
        return Ran(done.returncode, done.stdout + done.stderr)


def _script(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def _toolchain(folder: Path) -> None:
    """Write the fakes of setup-python's interpreter, of the packages and of gh."""
    python = sys.executable
    call = "import sys; sys.argv[0] = 'run'; from framework.cli.main import main; main()"
    _script(
        folder / "toolchain" / "python",
        f'#!/bin/sh\nif [ "$1 $2" != "-m venv" ]; then exec {python} "$@"; fi\n'
        f'mkdir -p "$3/bin" && cp {folder}/environment/* "$3/bin/"\n',
    )
    _script(
        folder / "environment" / "run",
        f'#!/bin/sh\nPYTHONPATH="$GITHUB_WORKSPACE" exec {python} -P -c "{call}" "$@"\n',
    )
    _script(folder / "environment" / "pip", f'#!/bin/sh\nexec {python} {_GH} pip "$@"\n')
    _script(folder / "bin" / "gh", f'#!/bin/sh\nexec {python} {_GH} gh "$@"\n')
    _fake_action(
        folder / "setup-python",
        inputs={"python-version": {"description": "which"}},
        runs=[{"shell": "bash", "run": f'echo "{folder}/toolchain" >> "$GITHUB_PATH"'}],
    )
    names = ("client-id", "private-key", "permission-contents", "permission-pull-requests")
    _fake_action(
        folder / "app-token",
        inputs={name: {"description": name, "required": True} for name in names},
        outputs={"token": {"description": "the token", "value": "the-apps-token"}},
        runs=[{"shell": "bash", "run": "true"}],
    )


def _fake_action(folder: Path, runs: list[dict[str, str]], **keys: Any) -> None:
    """Write a composite action in JSON, a subset of YAML."""
    folder.mkdir()
    action = {"name": folder.name, **keys, "runs": {"using": "composite", "steps": runs}}
    (folder / "action.yml").write_text(json.dumps(action))


@pytest.fixture
def hub(tmp_path: Path, environ: dict[str, str]) -> Iterator[Hub]:
    """A repository with the files of this checkout in one commit."""
    folder = tmp_path / "hub"
    _toolchain(folder)
    far_end = folder / "far-end"
    far_end.mkdir()
    environ = {
        **environ,
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITUNE_FAR_END": str(far_end),
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    environ.pop("PYTHONPATH", None)
    hub = Hub(folder, environ)
    hub.git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(hub.bare))
    first = hub.folder / "first"
    hub.git(folder, "clone", "--quiet", str(hub.bare), str(first))
    # Only a few recipes, so that workflows that plan all of them are faster.
    listed = Hub.git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z", *_TRACKED)
    for name in filter(None, listed.split("\0")):
        recipe = name.startswith("recipes/") and name.endswith(".yaml")
        if (ROOT / name).is_file() and (not recipe or Path(name).stem in _RECIPES):
            (first / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, first / name)
    (first / ".gitignore").write_text(".gitune/\n__pycache__/\n")
    hub.git(first, "add", "--all")
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.com")
    hub.git(first, *identity, "commit", "--quiet", "--message", "Begin")
    hub.git(first, "push", "--quiet", "origin", "HEAD:main")
    shutil.rmtree(first)
    yield hub
    for name in hub.runs:  # act does not remove its large workspaces
        with contextlib.suppress(OSError):
            shutil.rmtree(folder / f"{name}-files")


@pytest.fixture
def pull_request(hub: Hub) -> Callable[..., dict[str, Any]]:
    """Return the event of a pull request from *branch* to main."""

    def event(branch: str, number: int = 1, owner: str = REPOSITORY) -> dict[str, Any]:
        return {
            "number": number,
            "pull_request": {
                "number": number,
                "base": {"ref": "main", "sha": hub.git(hub.bare, "rev-parse", "main")},
                "head": {
                    "ref": branch,
                    "sha": hub.git(hub.bare, "rev-parse", branch),
                    "repo": {"full_name": owner},
                },
            },
        }

    return event
