"""What a release says of its origin when its steps are built already, and what a sweep releases."""

import pytest
from team_folder import git

from framework.build.launcher import Built, Finished
from framework.core.errors import GateError
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.run.build_release import Sweep, build, release_job
from framework.run.call import called


@pytest.fixture
def built(compose, monkeypatch):
    """Build the release of some words; every step is in the store already, whatever asks for it."""
    stored = (
        Release.read(SHARE / "tests" / "golden" / "tiny.lock").served().model_copy(update={"commit": None})
    )

    def submit(launcher, work):
        update = {"name": work.name, "recipe": work.recipe, "plan": work.plan}
        return Finished(Built(stored.model_copy(update=update), 0))

    monkeypatch.setattr("framework.build.launcher.local.Local.submit", submit)
    monkeypatch.setattr("framework.run.screens._first_example", lambda plan, store: ())
    return lambda *words: build(called(compose(*words), "run"))


def locked(folder, name="x"):
    return Release.read(folder / "environments" / "dev" / name / "release.lock")


def test_equal_steps_do_not_bring_the_origin_of_another_call(committed, team, built):
    release_job(built("+recipe=x", "training.epochs=7"))
    assert (locked(committed).overrides, locked(committed).given) == (("training.epochs=7",), False)
    team("recipes/x.yaml", (committed / "recipes/x.yaml").read_text().replace("epochs: 30", "epochs: 7"))
    release_job(built("+recipe=x"))
    assert (locked(committed).overrides, locked(committed).clean) == ((), False)
    git(committed, "commit", "-q", "-a", "-m", "second")
    release_job(built("+recipe=x"))
    second = git(committed, "rev-parse", "HEAD")
    assert (locked(committed).commit, locked(committed).given) == (second, True)
    git(committed, "commit", "-q", "--allow-empty", "-m", "third")
    release_job(built("+recipe=x"))
    assert locked(committed).commit == second  # still true, so there is nothing to propose
    git(committed, "commit", "-q", "--amend", "--allow-empty", "-m", "third again")
    release_job(built("+recipe=x", "training.epochs=8"))
    assert locked(committed).overrides == ("training.epochs=8",)


def test_commit_that_is_gone_is_replaced(committed, built):
    lost = git(committed, "rev-parse", "HEAD")
    release_job(built("+recipe=x"))
    lock = committed / "environments" / "dev" / "x" / "release.lock"
    lock.write_text(locked(committed).model_copy(update={"commit": "1" * 40}).text())
    release_job(built("+recipe=x"))
    assert locked(committed).commit == lost


def test_commit_of_a_branch_that_was_squashed_is_replaced(committed, built):
    git(committed, "switch", "-q", "-c", "feature")
    (committed / "README.md").write_text("more")
    git(committed, "add", "README.md")
    git(committed, "commit", "-q", "-m", "feature")
    release_job(built("+recipe=x"))
    assert locked(committed).commit == git(committed, "rev-parse", "HEAD")
    git(committed, "switch", "-q", "main")
    git(committed, "merge", "-q", "--squash", "feature")
    git(committed, "commit", "-q", "-m", "squashed")
    release_job(built("+recipe=x"))
    assert locked(committed).commit == git(committed, "rev-parse", "main")


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ((("training.learning_rate=3e-3",), ("training.learning_rate=1e-3",)), []),
        ((("seed=1", "name=a"), ("seed=2", "name=b")), ["a", "b"]),
        ((("seed=1", "name=a"), ("seed=2", "name=a"), ("seed=3",)), ["x"]),
        ((("reports=a",), ("reports=b",)), ["x"]),  # one release, built twice
        ((("seed=1",),), ["x"]),
    ],
)
def test_sweep_releases_what_has_a_name_of_its_own(jobs, names, committed, built, compose, capsys):
    sweep = Sweep()
    for words in jobs:
        sweep.build(called(compose("+recipe=x", *words), "run -m"))
    assert not (committed / "environments").exists()
    capsys.readouterr()
    sweep.release()
    assert sorted(lock.parent.name for lock in committed.glob("environments/dev/*/release.lock")) == names
    shown = capsys.readouterr().out
    for name in names:
        assert f"environments/dev/{name}/:" in shown
    for words in jobs if not names else []:
        assert f"\n  run +recipe=x {' '.join(words)}\n" in shown


def test_failed_job_of_a_sweep_does_not_make_the_other_the_release(committed, built, compose, monkeypatch):
    sweep = Sweep()
    sweep.build(called(compose("+recipe=x"), "run -m"))
    with pytest.raises(GateError, match="does not pass the gates"):
        sweep.build(called(compose("+recipe=x", "+environment.gates.exact_match.min=0.99"), "run -m"))
    sweep.release()
    assert not (committed / "environments").exists()
