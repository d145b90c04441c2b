"""A team's repository with releases, for the verbs that use Git."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from framework.core.errors import FrameworkError
from framework.core.release import LOCK, Release
from framework.gitops.dispatch import perform

ROOT = Path(__file__).parents[2]
TINY = Release.read(ROOT / "tests" / "golden" / "tiny.lock")
SETTINGS = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"


class GitOps:
    """Actions and queries for the tests of the verbs that use Git."""

    SETTINGS = SETTINGS
    commit = TINY.commit
    """What releases are built from: the first commit of the team's repository, once there is one."""

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch, self._capsys = monkeypatch, capsys

    @staticmethod
    def git(folder, *words):
        environ = {**os.environ, **SETTINGS}
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=environ
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @classmethod
    def release(cls, name, digit, exact_match=0.75):
        """Return a release whose digest and plan key repeat one digit 64 times."""
        return TINY.model_copy(
            update={
                "name": name,
                "recipe": "served",
                "commit": cls.commit,
                "digest": f"sha256:{digit * 64}",
                "plan": digit * 64,
                "model_uri": f"s3://models/{digit * 64}",
                "metrics": {**TINY.metrics, "tuned.exact_match": exact_match},
            }
        )

    @classmethod
    def put(cls, clone, release, environment="dev"):
        """Commit a lock as the train workflow does."""
        lock = clone / "environments" / environment / release.name / LOCK
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(release.text())
        cls.git(clone, "add", ".")
        cls.git(clone, "commit", "-q", "-m", f"Release {release.name}")

    @classmethod
    def lock(cls, bare, ref, environment, name="one"):
        """Return the release that is locked at *ref*."""
        text = cls.git(bare, "show", f"{ref}:environments/{environment}/{name}/{LOCK}")
        return Release.parse(f"{text}\n", "lock")

    @classmethod
    def state(cls, folder):
        """Return the state of Git, which a failure may not change."""
        return (
            cls.git(folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"),
            cls.git(folder, "status", "--porcelain", "--branch"),
            cls.git(folder, "ls-files", "--stage"),
            cls.git(folder, "worktree", "list", "--porcelain"),
            cls.git(folder, "stash", "list"),
        )

    def verb(self, folder, *words):
        """Run ``run <words>`` in a folder, in this process."""
        self._monkeypatch.chdir(folder)
        code, message = 0, ""
        try:
            perform(words[0], words[1:])
        except FrameworkError as error:
            code, message = error.exit_code, f"{error}\n"
        output = self._capsys.readouterr()
        return subprocess.CompletedProcess(words, code, output.out, f"{output.err}{message}")

    def refused(self, folder, *words):
        """Return the one-line error of a verb that must fail and change nothing in Git."""
        before = self.state(folder)
        done = self.verb(folder, *words)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert self.state(folder) == before
        return done.stderr


@pytest.fixture
def gitops(monkeypatch, capsys, environ):
    """The verbs that use Git, with an author configured."""
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, value)
        monkeypatch.setitem(environ, key, value)
    return GitOps(monkeypatch, capsys)


@pytest.fixture(scope="session")
def gitops_class():
    """The class of ``gitops``, for fixtures of session scope."""
    return GitOps


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A team's repository: one recipe with a pinned image, gates in staging and production."""
    clone = tmp_path_factory.mktemp("team")
    recipe = (ROOT / "recipes" / "tiny.yaml").read_text().replace("name: tiny", "name: one")
    (clone / "recipes").mkdir()
    (clone / "recipes" / "served.yaml").write_text(f"{recipe}deployment: {{image: {PINNED}}}\n")
    (clone / "conf" / "environment").mkdir(parents=True)
    for name in ("staging", "production"):
        option = yaml.safe_load((ROOT / "conf" / "environment" / f"{name}.yaml").read_text())
        option["gates"] = {"exact_match": {"min": 0.7}}
        (clone / "conf" / "environment" / f"{name}.yaml").write_text(yaml.safe_dump(option))
    GitOps.git(clone, "init", "-q", "-b", "main")
    GitOps.git(clone, "add", ".")
    GitOps.git(clone, "commit", "-q", "-m", "Recipe and environments")
    GitOps.commit = GitOps.git(clone, "rev-parse", "HEAD")
    for name in ("one", "two", "three"):
        GitOps.put(clone, GitOps.release(name, "a"))
    return clone


@pytest.fixture
def clone(original, tmp_path):
    """A copy of the repository that a test can change."""
    shutil.copytree(original, tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def remote(clone, tmp_path):
    """The bare repository that the clone pushes to."""
    GitOps.git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    GitOps.git(clone, "remote", "add", "origin", str(tmp_path / "remote.git"))
    GitOps.git(clone, "push", "-q", "-u", "origin", "main")
    GitOps.git(clone, "remote", "set-head", "origin", "main")
    return tmp_path / "remote.git"


@pytest.fixture(scope="session")
def promoted(original, tmp_path_factory):
    """A repository in which releases a, b and c were promoted to production, in this order."""
    folder = tmp_path_factory.mktemp("promoted") / "clone"
    shutil.copytree(original, folder)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in GitOps.SETTINGS.items():
            patch.setenv(key, value)
        patch.chdir(folder)
        for digit in "abc":
            if digit != "a":
                GitOps.put(folder, GitOps.release("one", digit))
            perform("promote", ["release=one", "from=dev", "to=production", "push=direct", "skip=a test"])
    return folder


@pytest.fixture
def history(gitops, promoted, clone, remote):
    """The team's clone with three promoted releases, pushed to its remote."""
    gitops.git(clone, "fetch", "-q", str(promoted), "main")
    gitops.git(clone, "merge", "-q", "--ff-only", "FETCH_HEAD")
    gitops.git(clone, "push", "-q")
    return clone
