"""What a release is built from: overrides that count, and files that the commit lacks, with real Git."""

import subprocess

import pytest

from framework.build.launcher import Built, Finished
from framework.config import options
from framework.config.compose_config import sweep_jobs
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.plan.build import make_plan
from framework.run.build_origin import read_origin
from framework.run.build_release import Sweep, build, release_job
from framework.run.call import called

ROWS = '{"prompt": "1", "completion": "odd"}\n' * 40


def git(folder, *words):
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def origin(compose):
    """The origin of the config of some words."""

    def read(*words):
        call = called(compose(*words), "run")
        return call.origin(make_plan(call.config, call.recipe))

    return read


@pytest.fixture
def committed(team, tmp_path):
    """A team's folder whose recipe, rows and options are committed."""
    (tmp_path / "recipes").mkdir()
    team("recipes/x.yaml", (SHARE / "recipes" / "tiny.yaml").read_text().replace("name: tiny", "name: x"))
    team(
        "recipes/rows.yaml",
        "defaults: [tiny, override /data: files]\nname: rows\ndata: {train: rows.jsonl}\n",
    )
    team("rows.jsonl", ROWS)
    team("conf/tuning/mine.yaml", (SHARE / "conf" / "tuning" / "lora.yaml").read_text())
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        ((), ()),
        (("tuning=lora", "tuning.rank=4"), ("tuning=lora", "tuning.rank=4")),
        (("tuning=lora", "tuning.rank=16"), ("tuning=lora",)),  # its option says 16
        (("training.learning_rate=3e-3", "seed=0"), ()),  # the recipe says so
        (("training.learning_rate=0.003",), ()),
        (("+gates.perplexity.max=9", "data.max_length=64"), ("gates.perplexity.max=9", "data.max_length=64")),
        (("deployment.grace_seconds=77",), ("deployment.grace_seconds=77",)),  # proposed manifests lack it
        (("environment=staging", "name=other"), ()),
        (("environment=staging", "environment.namespace=x"), ("environment.namespace=x",)),
        (("store=/s", "reports=r", "environments=e", "launcher=trainjob", "publish.url=s3://b"), ()),
        (("tracking=mlflow", "publish.keep=3", "seed=1"), ("seed=1",)),
        (("gates={}",), ("gates={}",)),
        (("+environment.gates.exact_match.min=0.9", "environment.gates={}"), ()),  # there are none anyway
        (("gates={}", "gates.exact_match.max=1"), ("gates={}", "gates.exact_match.max=1")),
    ],
)
def test_overrides_are_those_that_change_the_config(words, overrides, compose, plan):
    call = called(compose("+recipe=tiny", *words), "run")
    assert read_origin(call.composition, call.config, plan("+recipe=tiny")).overrides == overrides


@pytest.mark.parametrize(
    "word",
    [
        f"deployment.image=example.com/server@sha256:{'0' * 64}",
        r"data.train=a\,b.jsonl",
        "data.train='a b:c.jsonl'",
        "gates={}",
    ],
)
def test_override_of_a_sweep_is_recorded_as_typed(word, compose):
    (job,) = sweep_jobs(["+recipe=tiny", "data=files", "data.train=x", word])
    call = called(compose(*job), "run -m")
    assert call.overrides[-1] == word
    again = called(compose("+recipe=tiny", *call.overrides), "run")
    assert again.config == call.config


def test_option_of_a_phase_can_be_composed_again(compose):
    words = ("+recipe=finance-three-phase", "+tuning@phases.task.tuning=full")
    call = called(compose(*words), "run")
    (override,) = call.origin(make_plan(call.config, call.recipe)).overrides
    again = called(compose(words[0], override), "run")
    assert again.config == call.config


def test_digest_is_of_what_the_steps_are_keyed_by(origin, plan):
    first = origin("+recipe=tiny", "tuning=lora", "tuning.rank=4")
    spelled = origin(
        "+recipe=tiny", "tuning.rank=4", "tuning=lora", "store=/s", "name=y", "publish.url=s3://b"
    )
    assert spelled.config_digest == first.config_digest
    assert (spelled.steps, spelled.overrides) == (first.steps, ("tuning.rank=4", "tuning=lora"))
    assert origin("+recipe=tiny", "tuning=lora").config_digest != first.config_digest
    keys = {plan("+recipe=tiny", *words).last.key for words in (("seed=0",), ("training.epochs=30",), ())}
    assert len(keys) == 1  # the spelling of overrides enters no key


def test_committed_files_are_clean_whatever_else_changed(committed, team, origin):
    head = git(committed, "rev-parse", "HEAD")
    team("README.md", "uncommitted")
    team("environments/dev/x/release.lock", "uncommitted")
    team("recipes/another.yaml", "name: another")
    built = origin("+recipe=rows", "tuning=mine")
    assert (built.commit, built.changed) == (head, ())
    assert origin("+recipe=x").changed == ()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("recipes/x.yaml", "defaults: [tiny]\nname: x\nseed: 3\n", ("+recipe=x",)),
        ("recipes/new.yaml", "defaults: [tiny]\nname: new\n", ("+recipe=new",)),
        ("rows.jsonl", ROWS * 2, ("+recipe=rows",)),
        ("other.jsonl", ROWS, ("+recipe=rows", "data.train=other.jsonl")),
        ("conf/tuning/mine.yaml", "# the same\n", ("+recipe=x", "tuning=mine")),
    ],
)
def test_file_that_the_commit_lacks_is_named(file, text, words, committed, team, origin):
    (committed / ".git" / "info" / "exclude").write_text("other.jsonl\n")  # ignored is not committed
    before = (committed / file).read_text() if "conf" in file else ""
    team(file, f"{before}{text}")
    assert origin(*words).changed == (file,)


@pytest.mark.parametrize("file", ["conf/tuning/lora.yaml", "recipes/tiny.yaml", "conf/config.yaml"])
def test_deleted_file_that_the_commit_puts_before_a_built_in_one_is_named(file, committed, team, origin):
    team(file, (SHARE / file).read_text())
    git(committed, "add", ".")
    git(committed, "commit", "-q", "-m", "own")
    (committed / file).unlink()
    assert origin("+recipe=tiny", "tuning=lora").changed == (file,)


def test_code_of_a_plugin_counts(committed, team, origin):
    team("ours/__init__.py", "")
    assert origin("+recipe=x", "plugins=[ours]").changed == ("ours/__init__.py",)


@pytest.mark.parametrize("line", ["import {}", "from {} import near", "def late():\n    import {}.near"])
def test_code_that_a_plugin_imports_counts(line, committed, team, origin, request):
    name = f"beside{request.node.callspec.indices['line']}"
    team(f"of_{name}/__init__.py", "")
    team(f"of_{name}/part.py", f"import json, sys, framework\nfrom . import other\n{line.format(name)}\n")
    team(f"{name}/__init__.py", "")
    git(committed, "add", ".")
    git(committed, "commit", "-q", "-m", "plugin")
    team(f"{name}/near.py", f"import below_{name}\n")
    team(f"below_{name}.py", "")
    team(f"of_{name}/other.py", "")
    team("unrelated.py", "")
    changed = origin("+recipe=x", f"plugins=[of_{name}.part]").changed
    assert {*changed} == {f"{name}/near.py", f"below_{name}.py", f"of_{name}/other.py"}


def test_file_in_another_repository_is_not_of_the_commit(committed, team, origin):
    team(
        "recipes/rows.yaml",
        "defaults: [tiny, override /data: files]\nname: rows\ndata: {train: sub/rows.jsonl}\n",
    )
    git(committed, "commit", "-qam", "rows elsewhere")
    (committed / "sub").mkdir()
    team("sub/rows.jsonl", ROWS)
    git(committed / "sub", "init", "-q", "-b", "main")
    git(committed / "sub", "add", ".")
    git(committed / "sub", "commit", "-q", "-m", "rows")
    assert origin("+recipe=rows").changed == ("sub/rows.jsonl",)
    git(committed, "add", "sub")  # as a submodule, whose commit is recorded
    assert origin("+recipe=rows").changed == ("sub/rows.jsonl",)
    git(committed, "commit", "-q", "-m", "submodule")
    assert origin("+recipe=rows").changed == ()
    team("sub/rows.jsonl", f"{ROWS}{ROWS}")
    assert origin("+recipe=rows").changed == ("sub/rows.jsonl",)
    git(committed / "sub", "commit", "-qam", "more rows")
    assert origin("+recipe=rows").changed == ("sub/rows.jsonl",)
    team("recipes/rows.yaml", "defaults: [tiny, override /data: files]\nname: rows\ndata: {train: sub}\n")
    git(committed, "commit", "-qm", "a folder", "--", "recipes")
    assert "sub" in origin("+recipe=rows").changed


@pytest.mark.parametrize("flag", ["assume-unchanged", "skip-worktree"])
def test_flag_of_the_index_hides_no_change(flag, committed, team, origin):
    git(committed, "update-index", f"--{flag}", "rows.jsonl", "recipes/rows.yaml")
    assert origin("+recipe=rows").changed == ()
    team("rows.jsonl", f"{ROWS}{ROWS}")
    assert git(committed, "status", "--porcelain") == ""
    assert origin("+recipe=rows").changed == ("rows.jsonl",)


def test_options_that_only_the_command_finds_are_not_of_the_commit(committed, team, origin):
    text = (committed / "conf" / "tuning" / "mine.yaml").read_text().replace("rank: 16", "rank: 2")
    folder = team("more/tuning/theirs.yaml", text).parents[1]
    git(committed, "add", ".")
    git(committed, "commit", "-q", "-m", "more")
    options.add_folders(["--config-dir", "more"])
    try:
        assert origin("+recipe=x", "tuning=theirs").changed == (str(folder),)
        assert origin("+recipe=x").changed == ()
    finally:
        options.add_folders([])


def test_rows_with_a_digest_need_no_commit(committed, team, origin, tmp_path_factory):
    outside = tmp_path_factory.mktemp("shared") / "rows.jsonl"
    outside.write_text(ROWS)
    assert origin("+recipe=rows", f"data.train={outside}").changed == (str(outside),)
    digest = subprocess.run(["sha256sum", outside], capture_output=True, text=True, check=True).stdout[:64]
    pinned = f"data.train={{url: {outside}, sha256: {digest}}}"
    assert origin("+recipe=rows", pinned).changed == ()


def test_without_git_there_is_no_commit(team, origin, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin("+recipe=tiny").commit is None
    monkeypatch.setenv("PATH", "")
    assert origin("+recipe=tiny").commit is None


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
    from framework.core.errors import GateError

    sweep = Sweep()
    sweep.build(called(compose("+recipe=x"), "run -m"))
    with pytest.raises(GateError, match="does not pass the gates"):
        sweep.build(called(compose("+recipe=x", "+environment.gates.exact_match.min=0.99"), "run -m"))
    sweep.release()
    assert not (committed / "environments").exists()
