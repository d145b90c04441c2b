"""README's recipe, commands and two-file example, run as they stand."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from framework.cli.main import VERBS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_recipe_shown_is_the_recipe_that_runs() -> None:
    shown = next(block for block in blocks("yaml") if block.startswith("# recipes/quickstart.yaml"))
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "recipes/quickstart.yaml").read_text())
    assert len([line for line in shown.splitlines()[1:] if line.strip()]) <= 15


def test_every_verb_is_in_the_table_and_every_shown_verb_exists() -> None:
    shown = set(re.findall(r"`run ([a-z]+)", README))
    assert shown == set(VERBS)


def test_every_shown_path_exists() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("install", [r"pip install -c constraints\.txt -e '?\.(?:\[(\w+)\])?'?"])
def test_every_extra_that_is_shown_exists(install: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = {name for name in re.findall(install, README) if name}
    assert shown
    assert shown <= extras.keys()


def test_a_tuning_method_is_two_files(run, built_tiny: Path, tmp_path: Path) -> None:
    """The README's example as a team's own package: planned, trained, merged, exported."""
    shutil.copytree(built_tiny, tmp_path, dirs_exist_ok=True)
    code = next(block for block in blocks("python") if "class LoHa" in block)
    option = next(block for block in blocks("yaml") if "framework.build.tuning.loha" in block)
    package = tmp_path / "team"
    package.mkdir()
    (package / "loha.py").write_text(code)
    (tmp_path / "conf/tuning").mkdir(parents=True)
    (tmp_path / "conf/tuning/loha.yaml").write_text(option.replace("framework.build.tuning", "team"))
    words = ["+recipe=tiny", "plugins=[team]", "tuning=loha", "tuning.rank=8", "gates.exact_match.min=0"]
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    adapter = next((tmp_path / ".gitune/store/tune").glob("*/adapter_config.json")).read_text()
    assert '"peft_type": "LOHA"' in adapter
    assert "loha" in run(tmp_path, "--help").stdout
