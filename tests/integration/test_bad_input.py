"""Invalid input leads to one message, the right exit code, no traceback and no partial files."""

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n\nname: tiny\n"


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def refused(run, tmp_path):
    """Run a command that must fail; return its standard error."""

    def call(*words: str, code: int, folder: Path = tmp_path) -> str:
        done = run(folder, *words)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert done.stderr.strip()
        return done.stderr

    return call


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> None:
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / "x.yaml").write_text(text)

    return write


@pytest.mark.parametrize("verb", ["run", "plan", "render", "serve"])
def test_invalid_recipe_is_reported_by_every_verb(verb, recipe, refused, tmp_path):
    recipe(f"{TINY}tuning: {{rnak: 8}}\ntraining:\n  precision: bf17\n")
    words = ("+recipe=x", "seed=-1") if verb == "run" else (verb, "+recipe=x", "seed=-1")
    title, *problems = refused(*words, code=2).splitlines()
    assert title == "Config is invalid:"
    wheres = (
        "recipes/x.yaml:7: tuning.rnak: ",
        "recipes/x.yaml:9: training.precision: ",
        "command line 'seed=-1': ",
    )
    for where, problem in zip(wheres, problems, strict=True):
        assert problem.startswith(f"  {where}")
    assert "'bf16', 'fp16' or 'fp32'" in problems[1]
    assert not (tmp_path / "environments").exists()
    assert not (tmp_path / ".gitune" / "store").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plann"], "command line 'plann': "),
        (
            ["frobnicate"],
            "command line 'frobnicate': ",
        ),
        (
            ["promote", "tiny"],
            "command line 'tiny': ",
        ),
        (["+recipe=tiny", "plan"], "command line 'plan': "),
        (
            ["plan", "+recipe=quikstart"],
            "Config is invalid:\n  command line 'recipe=quikstart': recipe: ",
        ),
        (
            ["plan", "+recipe=tiny", "model=tinny"],
            "Config is invalid:\n  command line 'model=tinny': model: ",
        ),
        (
            ["plan", "+recipe=tiny", "tunning=lora"],
            "Config is invalid:\n  command line 'tunning=lora': ",
        ),
        (
            ["plan", "+recipe=tiny", "model=null"],
            "Config is invalid:\n  command line 'model=null': ",
        ),
        (["plan", "+recipe=tiny", "seed=[1"], "Config is invalid:\n  command line 'seed=[1': "),
        (
            ["plan", "+recipe=tiny", "name=${nope}"],
            "Config is invalid:\n  command line 'name=${nope}': ",
        ),
        (
            ["plan", "+recipe=tiny,quickstart"],
            "Config is invalid:\n  command line 'recipe=tiny,quickstart': ",
        ),
        (["plan", "-m", "--run"], "Config is invalid:\n  command line '--run': Only one of --run, "),
        (
            ["plan", "+recipe=tiny", "model._target_=os.path.join"],
            "Config is invalid:\n  command line 'model._target_=os.path.join': ",
        ),
        (
            ["plan", "+recipe=tiny", "export=onnx", "compression=fp8"],
            "The plan cannot run:\n  compression.fp8: ",
        ),
        (
            ["+recipe=tiny", "environment.hardware.memory_gib=0.5"],
            "The plan cannot run:\n  training: ",
        ),
        (
            ["+recipe=tiny", "data.train=rowz.jsonl"],
            "The plan cannot run:\n  data.train.0: rowz.jsonl: ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_command_is_rejected_before_any_work(words, message, refused, tmp_path):
    assert refused(*words, code=2).startswith(message)
    assert [
        name for name in listing(tmp_path) if not name.startswith(".gitune/runs") and name != ".gitune"
    ] == []


def test_wrong_recipes_hide_no_other_of_a_sweep(recipe, run, tmp_path):
    recipe("gates: [1]\n")  # only Hydra sees that it cannot be merged
    (tmp_path / "recipes" / "y.yaml").write_text("defaults:\n- override /tuning: lroa\n- tiny\n")
    done = run(tmp_path, "plan", "-m", "+recipe=x,y,nope,tiny")
    assert done.returncode == 2
    for place in ("command line 'recipe=x,y,nope,tiny': ", "recipes/x.yaml:1: gates: ", "recipes/y.yaml:2: "):
        assert f"\n  {place}" in done.stderr
    assert "== recipe=tiny ==" in done.stdout
    assert "On cpu: about" in done.stdout


def test_output_that_is_not_utf8_ends_no_command(run, environ, tmp_path, monkeypatch):
    monkeypatch.setitem(environ, "PYTHONIOENCODING", "ascii")
    recipe = tmp_path / "recipes" / "x.yaml"
    recipe.parent.mkdir()
    recipe.write_text("na\u00efve: 1\n", encoding="utf-8")
    done = run(tmp_path, "plan", "+recipe=x")
    assert done.returncode == 2
    assert "recipes/x.yaml:1: na?ve: " in done.stderr


def test_unknown_flag_is_rejected(refused):
    assert "unrecognized arguments: --frobnicate" in refused("plan", "--frobnicate", code=2)


def test_unbuilt_release_is_not_served_or_rendered(refused, tmp_path):
    error = refused("serve", "+recipe=tiny", code=1)
    assert error.endswith("run +recipe=tiny\n")
    assert error.count("\n") == 1
    error = refused("render", "+recipe=tiny", code=1)
    assert error.startswith("environments/dev/tiny/release.lock: ")
    assert error.count("\n") == 1
    assert listing(tmp_path) == []


def test_read_only_folder_is_reported(refused, tmp_path):
    (tmp_path / ".gitune").write_text("a file where a folder is needed")
    assert refused("+recipe=tiny", code=1).startswith(".gitune")
    assert listing(tmp_path) == [".gitune"]


def test_missed_gate_stops_the_plan(refused, built_tiny, tmp_path):
    shutil.copytree(built_tiny / ".gitune", tmp_path / ".gitune")
    error = refused("+recipe=tiny", "gates.perplexity.max=1", code=1)
    assert "\n  tuned.perplexity is " in error
    assert "<= 1\n" in error
    assert not (tmp_path / "environments").exists()
    folders = {path.parent.name for path in (tmp_path / ".gitune" / "store").glob("gate/*/artifact.json")}
    assert len(folders) == 2  # those of the first build


def test_rejected_rows_are_named_with_file_and_line(refused, tmp_path):
    good = '{"prompt": "Is 2 even?", "completion": "yes"}\n'
    (tmp_path / "rows.jsonl").write_text(good * 8 + "{not json\n" + '{"prompt": "no answer"}\n')
    (tmp_path / "test.jsonl").write_text(good.replace("2", "4") * 4)
    words = ("data.train=rows.jsonl", "data.test=test.jsonl")
    error = refused("+recipe=tiny", *words, code=1)
    assert error.startswith("data: 2 of 10 rows ")
    assert "data.max_rejected=0" in error
    assert "rows.jsonl:9: " in error
    assert "rows.jsonl:10: " in error
    store = tmp_path / ".gitune" / "store"
    assert [path.parent.parent.name for path in store.glob("*/*/artifact.json")] == []
    assert not (tmp_path / "environments").exists()


def rendered(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every rendered file."""
    files = {path.name: path.read_bytes() for path in (folder / "environments" / "dev" / "tiny").iterdir()}
    assert "release.lock" in files
    return files


def _artifact(folder: Path, stage: str) -> Path:
    return next((folder / ".gitune" / "store" / stage).glob("*/artifact.json")).parent


def _truncate(folder: Path) -> None:
    file = _artifact(folder, "merge") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def _tamper(folder: Path) -> None:
    file = _artifact(folder, "merge") / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _remove_file(folder: Path) -> None:
    (_artifact(folder, "merge") / "model.safetensors").unlink()


def _remove_record(folder: Path) -> None:
    (_artifact(folder, "merge") / "artifact.json").unlink()


def _break_record(folder: Path) -> None:
    (_artifact(folder, "merge") / "artifact.json").write_text("{")


def _swap_record(folder: Path) -> None:
    record = _artifact(folder, "merge") / "artifact.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"key": "0" * 64}))


DAMAGES = {
    _truncate: "model.safetensors has 100 bytes",
    _tamper: "model.safetensors",
    _remove_file: "model.safetensors",
    _remove_record: "artifact.json",
    _break_record: "artifact.json",
    _swap_record: "artifact.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_altered_artifact_is_never_used(damage, built_tiny, refused, run, tmp_path):
    shutil.copytree(built_tiny, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    before = rendered(tmp_path)
    error = refused("+recipe=tiny", code=1)
    folder = next((tmp_path / ".gitune" / "store" / "merge").iterdir())
    assert error.startswith(f"{folder.relative_to(tmp_path)}: ")
    assert DAMAGES[damage] in error
    assert error.count("\n") == 1
    assert rendered(tmp_path) == before
    assert refused("plan", "+recipe=tiny", code=1) == error


def test_altered_release_is_not_rendered(built_tiny, refused, tmp_path):
    shutil.copytree(built_tiny, tmp_path, dirs_exist_ok=True)
    lock = tmp_path / "environments" / "dev" / "tiny" / "release.lock"
    lock.write_text(lock.read_text()[:50])
    assert refused("render", "+recipe=tiny", code=1).startswith("environments/dev/tiny/release.lock: ")
