import pytest
import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from framework.config.composition import options, problem
from framework.core.errors import ConfigError
from framework.core.paths import SHARE

TUNINGS = ", ".join(sorted(path.stem for path in (SHARE / "conf" / "tuning").glob("*.yaml")))
TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n"


@pytest.fixture
def told(compose):
    """What is said of words that Hydra cannot compose: one line."""

    def call(*words: str) -> str:
        failures = (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
        with pytest.raises(failures) as caught:
            compose(*words)
        error = caught.value
        text = str(error) if isinstance(error, ConfigError) else problem(error, words)
        first, line = text.split("\n")
        assert first == "Config is invalid:"
        return line.strip()

    return call


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model=tinny", "model=tinny: no such option; did you mean 'tiny'?"),
        ("tuning=zzz", f"tuning=zzz: no such option; known: {TUNINGS}"),
        ("+recipe=quikstart", "recipe=quikstart: no such recipe; did you mean 'quickstart'?"),
        (
            "+recipe=zzz",
            "recipe=zzz: no such recipe; known: compare-compression, compression/",
        ),
        ("+recipe=", "recipe=: no such recipe; known: compare-compression, compression/"),
        ("tuning=null", f"command line 'tuning=null': should name an option; known: {TUNINGS}"),
        ("tuning=3", f"command line 'tuning=3': should name an option; known: {TUNINGS}"),
        ("seed=[", "command line 'seed=[': not key=value as Hydra reads it; quote a value with special"),
        ("~nothing", "Could not delete from config. 'nothing' does not exist."),
    ],
)
def test_words_that_do_not_compose(told, word, said):
    assert told(word).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [1\nseed: 2\n", "recipes/x.yaml:2: not YAML: expected ',' or ']', but got ':'"),
        ("name: a\nname: b\n", "recipes/x.yaml:2: not YAML: found duplicate key name"),
        ("- a\n- b\n", "recipes/x.yaml:1: a recipe is a mapping of keys, not a list"),
        ("defaults: tiny\n", "Invalid defaults list in 'recipe/x', defaults must be a list (got str)"),
        ("defaults:\n- override /model: tinny\n", "model=tinny: no such option; did you mean 'tiny'?"),
        (
            "defaults:\n- override /modell: tiny\n",
            "In 'recipe/x': Could not override 'modell'. No match in the defaults list; "
            "did you mean 'model'?",
        ),
        (
            "defaults:\n- model: tiny\n",
            "model: a recipe's defaults list chooses an option by 'override /model: tiny'",
        ),
        ("defaults:\n- tinny\n", "recipe=tinny: no such recipe; did you mean 'tiny'?"),
    ],
)
def test_recipes_that_do_not_compose(team, told, text, said):
    team("recipes/x.yaml", text)
    assert told("+recipe=x") == said


def test_an_option_that_is_not_yaml_is_named(team, told):
    team("conf/tuning/mine.yaml", "rank: [1\n")
    assert told("+recipe=tiny", "tuning=mine").startswith("conf/tuning/mine.yaml:2: not YAML: ")


@pytest.mark.parametrize("name", ["conf/tuning/mine.yaml", "recipes/mine.yaml"])
def test_a_file_that_is_not_utf8_is_named(team, tmp_path, told, name):
    team(name, "")
    (tmp_path / name).write_bytes(b"name: \xff\xfe\n")
    word = "tuning=mine" if name.startswith("conf") else "+recipe=mine"
    assert told(word) == f"{name}: not UTF-8 text (invalid start byte); save it as UTF-8"


def test_options_of_the_working_folder_are_known_too(team):
    team("conf/tuning/mine.yaml", "")
    team("recipes/deep/mine.yaml", "")
    assert {"mine", "lora"} <= set(options("tuning"))
    assert {"deep/mine", "tiny"} <= set(options("recipe"))
