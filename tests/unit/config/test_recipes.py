import pytest

from framework.config.compose_config import sweep_jobs
from framework.config.load import load
from framework.config.options import every_recipe, recipe_names, relative
from framework.config.read_recipe import listed
from framework.core.errors import ConfigError
from framework.core.paths import SHARE
from framework.plan.build import make_plan

RECIPES = [name for name in recipe_names(SHARE / "recipes") if not listed(name)]


def test_recipe_data_files_are_no_recipes():
    assert {"quickstart", "sentiment", "tiny"} <= set(RECIPES)
    assert not [name for name in RECIPES if name.startswith("data/")]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_plans(name, compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(compose(f"+recipe={name}"))
    plan = make_plan(config, name)
    assert plan.last.stage.name == "publish"
    assert len({step.label for step in plan.steps}) == len(plan.steps)
    assert config.name == name.rpartition("/")[2]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_short_and_explained(name):
    lines = (SHARE / "recipes" / f"{name}.yaml").read_text().splitlines()
    depth = name.count("/")
    assert lines[0] == f"# yaml-language-server: $schema={'../' * depth}schema.json"
    assert lines[1].startswith("# ")
    assert len(lines) <= 30


def test_working_folder_recipe_comes_first(team, config):
    team("recipes/tiny.yaml", "defaults:\n- override /model: tiny\n- override /data: tiny\nname: ours\n")
    assert config("+recipe=tiny").name == "ours"
    assert config("+recipe=quickstart").name == "quickstart"


def test_glob_means_the_recipes_of_a_team(team):
    assert every_recipe() == recipe_names(SHARE / "recipes")
    assert ["+recipe=tiny"] in sweep_jobs(["+recipe=glob(*)"])
    team("recipes/ours.yaml", "name: ours\n")
    team("recipes/deep/other.yaml", "name: other\n")
    assert every_recipe() == ["deep/other", "ours"]
    assert sweep_jobs(["+recipe=glob(*)"]) == [["+recipe=ours"]]
    assert sweep_jobs(["+recipe=tiny,ours"]) == [["+recipe=tiny"], ["+recipe=ours"]]


def test_working_folder_option_comes_first(team, config):
    team("conf/tuning/lora.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 3\n")
    team("conf/tuning/narrow.yaml", "defaults: [lora]\nalpha: 7\n")
    assert config("+recipe=tiny", "tuning=lora").tuning.rank == 3
    narrow = config("+recipe=tiny", "tuning=narrow").tuning
    assert (narrow.rank, narrow.alpha) == (3, 7)


def test_recipe_extends_a_recipe(team, config):
    team("recipes/longer.yaml", "defaults:\n- tiny\n- _self_\nname: longer\ntraining: {epochs: 77}\n")
    team("recipes/deep/longest.yaml", "defaults:\n- /recipe/longer\n- _self_\nseed: 5\n")
    longer = config("+recipe=longer")
    assert (longer.name, longer.training.epochs, longer.training.learning_rate) == ("longer", 77, 3e-3)
    longest = config("+recipe=deep/longest")
    assert (longest.seed, longest.training.epochs) == (5, 77)


def test_recipe_needs_no_package_line(team, compose):
    team("recipes/mine.yaml", "name: mine\n")
    config = compose("+recipe=mine").config
    assert config["name"] == "mine"
    assert "recipe" not in config


def test_recipe_is_chosen_without_the_plus_too(config):
    assert config("recipe=tiny").name == "tiny"


def test_recipe_name_includes_its_folder(team, tmp_path):
    team("recipes/b/c.yaml", "name: c\n")
    team("recipes/a.yaml", "name: a\n")
    assert recipe_names(tmp_path / "recipes") == ["a", "b/c"]


def test_path_outside_the_working_folder_is_absolute(team, tmp_path):
    assert relative(team("a/b.yaml", "")) == "a/b.yaml"
    assert relative(tmp_path.parent / "x") == str(tmp_path.parent / "x")


LISTS = [name for name in recipe_names(SHARE / "recipes") if listed(name)]


@pytest.mark.parametrize("name", LISTS)
def test_list_names_existing_recipes(name):
    assert listed(name)
    assert set(listed(name)) <= set(RECIPES)


def test_list_is_the_only_key_of_its_file(team):
    team("recipes/both.yaml", "# two\nrecipes: [tiny, quickstart]\nseed: 1\n")
    with pytest.raises(ConfigError, match=r"recipes/both.yaml:1: recipes: must be the only key"):
        listed("both")
    team("recipes/both.yaml", "# two\nrecipes: [tiny, quickstart]\n")
    assert listed("both") == ["tiny", "quickstart"]
    assert listed("tiny") == listed("nothing") == []
