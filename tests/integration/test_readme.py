"""README's recipe, commands and two-file example work as written."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from framework.cli.verbs import NAMES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_shown_recipe_is_the_built_in_one() -> None:
    shown = next(block for block in blocks("yaml") if block.startswith("# recipes/quickstart.yaml"))
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "recipes/quickstart.yaml").read_text())
    assert len([line for line in shown.splitlines()[1:] if line.strip()]) <= 15


def test_verbs_in_the_table_are_all_verbs() -> None:
    shown = set(re.findall(r"`run ([a-z][a-z-]*)", README))
    assert shown == set(NAMES)


def test_links_point_to_existing_files() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("install", [r"pip install -c constraints\.txt -e '?\.(?:\[(\w+)\])?'?"])
def test_shown_extras_exist(install: str) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = {name for name in re.findall(install, README) if name}
    assert shown
    assert shown <= extras.keys()


@pytest.mark.slow
def test_a_tuning_method_takes_two_files(run, built_tiny: Path, tmp_path: Path) -> None:
    """The example as a plugin: planned, trained, merged and exported."""
    shutil.copytree(built_tiny, tmp_path, dirs_exist_ok=True)
    code = next(block for block in blocks("python") if "class LoHa" in block)
    option = next(block for block in blocks("yaml") if "framework.build.tuning.loha" in block)
    package = tmp_path / "team"
    package.mkdir()
    (package / "loha.py").write_text(code)
    (tmp_path / "conf/tuning").mkdir(parents=True)
    (tmp_path / "conf/tuning/loha.yaml").write_text(option.replace("framework.build.tuning", "team"))
    overrides = ["+recipe=tiny", "plugins=[team]", "tuning=loha", "tuning.rank=8", "gates.exact_match.min=0"]
    done = run(tmp_path, *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    adapter = next((tmp_path / ".gitune/store/tune").glob("*/adapter_config.json")).read_text()
    assert '"peft_type": "LOHA"' in adapter
    assert "loha" in run(tmp_path, "--help").stdout
