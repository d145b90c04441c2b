import pytest
import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from framework.config.composition import composition_error, options
from framework.core.errors import ConfigError
from framework.core.paths import SHARE

TUNINGS = ", ".join(sorted(path.stem for path in (SHARE / "conf" / "tuning").glob("*.yaml")))
TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n"


@pytest.fixture
def rejected(compose):
    """The error for words that Hydra cannot compose."""

    def call(*words: str) -> ConfigError:
        failures = (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
        with pytest.raises(failures) as caught:
            compose(*words)
        error = caught.value
        rejection = error if isinstance(error, ConfigError) else composition_error(error, words)
        assert len(rejection.problems) == len(rejection.lines) == 1
        return rejection

    return call


@pytest.mark.parametrize(
    ("word", "key", "advice"),
    [
        ("model=tinny", "model", "did you mean 'tiny'?"),
        ("tuning=zzz", "tuning", f"choose one of {TUNINGS}"),
        ("+recipe=quikstart", "recipe", "did you mean 'quickstart'?"),
        ("+recipe=zzz", "recipe", "choose one of compare-compression, compression/"),
        ("+recipe=", "recipe", "choose one of compare-compression, compression/"),
        ("tuning=null", "", f"choose one of {TUNINGS}"),
        ("tuning=3", "", f"choose one of {TUNINGS}"),
        ("seed=[", "", "quote a value with special"),
        ("~nothing", "", ""),
    ],
)
def test_invalid_word_is_rejected(rejected, word, key, advice):
    error = rejected(word)
    assert error.problems[0].key == key
    assert error.problems[0].advice.startswith(advice)
    assert error.lines[0].startswith(f"{key}: " if key else "command line '" if advice else "Could not")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: [1\nseed: 2\n", "recipes/x.yaml:2: not YAML: expected ',' or ']', but got ':'"),
        ("name: a\nname: b\n", "recipes/x.yaml:2: not YAML: found duplicate key name"),
        ("- a\n- b\n", "recipes/x.yaml:1: a recipe is a mapping of keys, not a list"),
        ("defaults: tiny\n", "Invalid defaults list in 'recipe/x', defaults must be a list (got str)"),
        ("defaults:\n- override /model: tinny\n", "model: there is no option 'tinny'; did you mean 'tiny'?"),
        (
            "defaults:\n- override /modell: tiny\n",
            "In 'recipe/x': Could not override 'modell'. No match in the defaults list; "
            "did you mean 'model'?",
        ),
        (
            "defaults:\n- model: tiny\n",
            "model: a recipe's defaults list chooses options by 'override'; write 'override /model: tiny'",
        ),
        ("defaults:\n- tinny\n", "recipe: there is no recipe 'tinny'; did you mean 'tiny'?"),
    ],
)
def test_invalid_recipe_is_rejected(team, rejected, text, line):
    team("recipes/x.yaml", text)
    assert rejected("+recipe=x").lines == (line,)


def test_option_that_is_not_yaml_is_named(team, rejected):
    team("conf/tuning/mine.yaml", "rank: [1\n")
    (line,) = rejected("+recipe=tiny", "tuning=mine").lines
    assert line.startswith("conf/tuning/mine.yaml:2: not YAML: ")


@pytest.mark.parametrize("name", ["conf/tuning/mine.yaml", "recipes/mine.yaml"])
def test_file_that_is_not_utf8_is_named(team, tmp_path, rejected, name):
    team(name, "")
    (tmp_path / name).write_bytes(b"name: \xff\xfe\n")
    word = "tuning=mine" if name.startswith("conf") else "+recipe=mine"
    assert rejected(word).lines == (f"{name}: not UTF-8 text (invalid start byte); save it as UTF-8",)


def test_options_of_the_working_folder_are_listed(team):
    team("conf/tuning/mine.yaml", "")
    team("recipes/deep/mine.yaml", "")
    assert {"mine", "lora"} <= set(options("tuning"))
    assert {"deep/mine", "tiny"} <= set(options("recipe"))
