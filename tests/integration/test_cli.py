"""The command line: output, exit codes and the files that a command leaves."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from framework import __version__
from framework.cli.help import verb_help
from framework.cli.main import LOG_VERBS
from framework.cli.verbs import NAMES, VERBS
from framework.config.schema import GROUPS
from framework.core.errors import ConfigError
from framework.core.paths import SHARE

pytestmark = pytest.mark.e2e

HEAVY = {
    *("accelerate", "datasets", "deepspeed", "fastapi", "huggingface_hub", "kubernetes", "lightning"),
    *("uvicorn", "numpy", "onnx", "onnxruntime", "onnxruntime_genai", "peft", "safetensors", "tensorrt"),
    *("tokenizers", "torch", "transformers"),
}


def listing(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def imported(environ, tmp_path):
    """Run a command; return the top-level packages that it imported."""

    def call(*words: str) -> set[str]:
        code = (
            "import sys; sys.argv[0] = 'run'\n"
            "from framework.cli.main import main\n"
            "try:\n    main()\nfinally:\n"
            "    print('\\n', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=environ, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return set(done.stderr.splitlines()[-1].split())

    return call


def test_help_is_complete_and_fits_80_columns(run, tmp_path):
    done = run(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert "Usage: run [verb] [+recipe=<name>] [group=<option>] [key=value] ..." in text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert len(text.splitlines()) < 75
    for verb in NAMES:
        assert f"\n  {verb} " in text
    for group in GROUPS:
        assert f"\n{group}: " in text
    assert "entities, finance-three-phase, methods/ (" in " ".join(text.split())
    assert text.count("\n  run ") == 3
    assert "_target_" not in text
    assert listing(tmp_path) == []


def test_help_lists_recipes_of_the_working_folder(run, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "news.yaml").write_text("name: news\n")
    done = run(tmp_path)
    assert done.returncode == 0
    assert " news," in done.stdout
    assert "quickstart, search, sectors, sentiment, tiny, " in " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_verb_help_is_complete_and_fits_80_columns(verb):
    text = verb_help(verb)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    for word in verb.words:
        assert f"\n  {word.key}=" in text
        assert word.default is None or word.default in text
    assert len(verb.examples) == 2
    for example in verb.examples:
        assert f"\n  {example}\n" in text
        assert example.startswith(f"run {verb.name}")


def test_verb_prints_its_own_help(run, tmp_path):
    for verb in ("argocd", "plan"):
        done = run(tmp_path, verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == verb_help(VERBS[NAMES.index(verb)])
    assert listing(tmp_path) == []


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.words], ids=lambda verb: verb.name)
def test_help_lists_the_arguments_that_a_verb_reads(verb, monkeypatch):
    half, name = ("learning" if verb.name in LOG_VERBS else "gitops"), verb.name.replace("-", "_")
    module = importlib.import_module(f"framework.{half}.{name}")
    reads = {}

    def read(name, words, required, optional):
        reads.update(dict.fromkeys(required), **optional)
        raise ConfigError("enough")

    monkeypatch.setattr(module, "parse_arguments", read)
    with pytest.raises(ConfigError, match="enough"):
        getattr(module, name)([])
    assert {word.key: word.default for word in verb.words} == reads


def test_version_names_the_commit(run, tmp_path):
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"gitune {__version__} (")
    if (SHARE / ".git").exists():
        git = ("git", "-C", str(SHARE), "rev-parse", "HEAD")
        head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        assert f"source checkout at {head}" in done.stdout


def test_help_imports_only_hydra(imported):
    packages = imported("--help")
    assert not packages & (HEAVY | {"pydantic"})
    assert "hydra" in packages


def test_plan_imports_nothing_heavy(imported):
    assert not imported("plan", "+recipe=quickstart") & HEAVY


def test_plan_prints_the_table_and_writes_nothing(run, tmp_path):
    done = run(tmp_path, "plan", "+recipe=tiny")
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.split("\n\n")[0].splitlines()
    assert header.split() == ["step", "state", "why", "time", "memory"]
    assert len(rows) == 15
    assert listing(tmp_path) == []


def test_plan_of_several_configs_writes_nothing(run, tmp_path):
    done = run(tmp_path, "plan", "+recipe=tiny", "-m", "seed=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == [
        "== recipe=tiny seed=1 ==",
        "== recipe=tiny seed=2 ==",
    ]
    assert listing(tmp_path) == []


def test_glob_plans_all_recipes(run, tmp_path):
    done = run(tmp_path, "plan", "-m", "+recipe=glob(*)")
    assert done.returncode == 0, done.stderr
    for name in ("quickstart", "sentiment", "tiny"):
        assert f"== recipe={name} ==" in done.stdout
        assert f"environments/dev/{name}/" in done.stdout


def test_recursive_glob_plans_recipes_in_subfolders(run, tmp_path):
    done = run(tmp_path, "plan", "recipe=glob(**)")
    assert done.returncode == 0, done.stderr
    names = {
        file.relative_to(SHARE / "recipes").with_suffix("").as_posix()
        for file in (SHARE / "recipes").rglob("*.yaml")
        if "\nrecipes:" not in file.read_text()
    }
    assert {line[10:-3] for line in done.stdout.splitlines() if line.startswith("== recipe=")} == names


def test_glob_finds_recipes_in_folders_or_says_that_there_are_none(run, tmp_path):
    for name in ("a", "x/b", "x/c", "x/y/d"):
        file = tmp_path / "recipes" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((SHARE / "recipes" / "tiny.yaml").read_text())
    for glob, names in (
        ("x/*", ["x/b", "x/c"]),
        ("*", ["a"]),
        ("[x/**,a],exclude=x/c", ["a", "x/b", "x/y/d"]),
    ):
        done = run(tmp_path, "plan", f"recipe=glob({glob})")
        assert done.returncode == 0, done.stderr
        headings = [line[10:-3] for line in done.stdout.splitlines() if line.startswith("== recipe=")]
        assert headings == names or done.stdout.count("publish") == len(names) == 1
    for words in (("extras",), ("plan", "-m")):
        done = run(tmp_path, *words, "+recipe=glob(nope*)")
        assert done.returncode == 2
        assert "'+recipe=glob(nope*)'" in done.stderr
        assert "a, x/b, x/c" in done.stderr


def test_invalid_job_sets_the_exit_code_and_others_finish(run, tmp_path):
    done = run(tmp_path, "plan", "-m", "+recipe=tiny", "seed=-1,2")
    assert done.returncode == 2
    assert "command line 'seed=-1': " in done.stderr
    assert done.stdout.count("publish") == 1


def test_schema_matches_the_committed_file(run, tmp_path):
    done = run(tmp_path, "schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)
    assert done.stdout == (SHARE / "recipes" / "schema.json").read_text()
    assert run(tmp_path, "schema", "seed=1").stderr.startswith("command line 'seed=1': ")


@pytest.mark.parametrize(
    ("line", "included", "excluded"),
    [
        ("run +recipe=", ["+recipe=quickstart", "+recipe=sentiment", "+recipe=tiny"], []),
        ("run plan +recipe=t", ["+recipe=tiny"], ["+recipe=quickstart"]),
        ("run tuning=", ["tuning=full", "tuning=lora"], ["tuning=tiny"]),
        ("run +recipe=quickstart tuning.", ["tuning.rank=", "tuning.alpha="], []),
        ("run pl", ["plan"], ["render"]),
    ],
)
def test_shell_completion_suggests_words(line, included, excluded, environ, tmp_path):
    code = "import sys; sys.argv[0] = 'run'; from framework.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "-sc", "query=bash"],
        cwd=tmp_path,
        env={**environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        text=True,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    suggestions = {*done.stdout.split()}
    assert set(included) <= suggestions
    assert not set(excluded) & suggestions


def test_shell_completion_can_be_installed(run, tmp_path):
    done = run(tmp_path, "-sc", "install=bash")
    assert done.returncode == 0
    assert "complete -o nospace -o default -F hydra_bash_completion run" in done.stdout


def test_composed_config_is_printed(run, tmp_path):
    done = run(tmp_path, "+recipe=tiny", "--cfg", "job")
    assert done.returncode == 0
    assert "name: tiny-random-llama" in done.stdout


@pytest.mark.parametrize("python", [("-m", "framework.cli.main")])
def test_module_runs_as_the_command(python, environ, tmp_path):
    done = subprocess.run(
        [sys.executable, *python, "plan", "+recipe=tiny"], cwd=tmp_path, env=environ, capture_output=True
    )
    assert done.returncode == 0


def test_plugin_of_the_working_folder_runs_in_the_worker(run, tmp_path):
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "__init__.py").write_text("")
    (tmp_path / "team" / "model.py").write_text(
        "from framework.core.errors import StepError\n"
        "from framework.build.model.tiny import TinyCausalLM\n\n\n"
        "class TeamModel(TinyCausalLM):\n    def materialize(self, output, seed):\n"
        "        raise StepError('the plugin ran in the worker')\n"
    )
    words = ("+recipe=tiny", "plugins=[team]", "model._target_=team.model.TeamModel")
    assert run(tmp_path, "plan", *words).returncode == 0
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert "the plugin ran in the worker" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_output_pipe_is_not_an_error(start, tmp_path):
    """As in ``run plan … | head -1``."""
    runner = start(tmp_path, "plan", "+recipe=tiny")
    runner.stdout.close()
    assert runner.wait(timeout=60) == 141


@pytest.mark.parametrize("words", [("status",), ("--help",), ("plan", "+recipe=tiny")], ids=" ".join)
def test_deleted_working_folder_is_a_one_line_error(environ, tmp_path, words):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = [sys.executable, "-P", "-m", "framework.cli.main", *words]
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(folder), *command],
        env={**environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("the working folder no longer exists")
    assert done.stderr.count("\n") == 1
