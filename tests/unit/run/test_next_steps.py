import shlex
import subprocess

import pytest

from framework.core.paths import SHARE
from framework.core.release import Release
from framework.run.call import called
from framework.run.next_steps import next_steps

GIVEN = Release.read(SHARE / "tests" / "golden" / "tiny.lock")


@pytest.fixture
def commands(compose):
    """The suggested commands after ``run`` with some words, as lists of words."""

    def suggest(*words, changed=(), proposable=True, **update):
        call = called(compose(*words), "run")
        lines = next_steps(
            call.config, GIVEN.model_copy(update=update), call.words, proposable, list(changed)
        )
        return [shlex.split(line) for line in lines if line.startswith("  run ")], " ".join(lines)

    return suggest


@pytest.mark.parametrize(
    "words",
    [
        ("+recipe=tiny",),
        ("+recipe=tiny", "tuning=lora", "name=lora"),
        ("+recipe=tiny", "tuning=lora", "tuning.rank=8", "data.train=a b.jsonl", "store=/s"),
        ("model=tiny", "data=tiny", "name=alone"),
    ],
)
def test_commands_ask_for_what_was_built(words, commands, compose):
    suggested, _ = commands(*words)
    serve, report, plan, sweep, propose = suggested
    built = called(compose(*words), "run").config
    for asked in (serve[2:], report[2:]):
        assert called(compose(*asked), "run").config == built
    changed = called(compose(*plan[2:]), "run").config
    assert changed.name == built.name
    assert (changed.tuning, changed.training) != (built.tuning, built.training)
    assert changed.model_copy(update={"tuning": built.tuning, "training": built.training}) == built
    assert sweep[:2] == ["run", "-m"]
    assert "," in sweep[-1]
    assert propose == ["run", "propose"]


def test_commit_that_no_remote_has_is_pushed_first(commands, tmp_path, monkeypatch):
    def git(*words):
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *settings, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def steps():
        lines = commands("+recipe=tiny", commit=git("rev-parse", "HEAD"))[1].split("  ")
        return [line.strip() for line in lines if "git " in line]

    monkeypatch.chdir(tmp_path)
    git("init", "-q", "--bare", "remote.git")
    git("init", "-q", "-b", "mine", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert steps() == []  # there is no remote, so nothing is refused
    git("remote", "add", "up", str(tmp_path / "remote.git"))
    assert steps() == ["git push -u up mine"]
    git(*steps()[0].split()[1:])
    assert steps() == []
    git("commit", "-q", "--allow-empty", "-m", "two")
    assert steps() == ["git push"]


def test_release_that_propose_refuses_is_not_proposed(commands):
    lines, text = commands("+recipe=tiny", overrides=("seed=1",))
    assert ["run", "propose"] not in lines
    assert "write seed=1 into recipes/tiny.yaml" in " ".join(text.split())
    _, text = commands("+recipe=tiny", clean=False, changed=[f"recipes/{name}.yaml" for name in "abcde"])
    assert "commit recipes/a.yaml, recipes/b.yaml, recipes/c.yaml and 2 more" in " ".join(text.split())
    lines, _ = commands("+recipe=tiny", "environments=deploy/all envs")
    assert lines[-1] == ["run", "propose", "environments=deploy/all envs"]
    for update in ({"commit": None}, {"proposable": False}):
        lines, text = commands("+recipe=tiny", **update)
        assert len(lines) == 4
        assert "propose" not in text
