"""What a release is built from: overrides that count, and files that the commit lacks, with real Git."""

import subprocess

import pytest
from team_folder import ROWS, git

from framework.config import options
from framework.config.compose_config import sweep_jobs
from framework.core.paths import SHARE
from framework.plan.build import make_plan
from framework.run.build_origin import read_origin
from framework.run.call import called


@pytest.fixture
def origin(compose):
    """The origin of the config of some words."""

    def read(*words):
        call = called(compose(*words), "run")
        return call.origin(make_plan(call.config, call.recipe))

    return read


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
