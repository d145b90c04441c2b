import sys

import pytest

from framework.config.problems import FOREIGN
from framework.config.schema import Config
from framework.core.errors import ConfigError

TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n"  # 4 lines


def lines_of(call) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call()
    first, *lines = str(caught.value).split("\n  ")
    assert first == "Config is invalid:"
    assert caught.value.exit_code == 2
    return lines


@pytest.fixture
def told(config):
    """The problems of a composed config, one line each."""
    return lambda *words: lines_of(lambda: config(*words))


def test_all_problems_come_at_once_in_the_order_in_which_they_were_written(team, told):
    team(
        "recipes/typos.yaml",
        "defaults:\n- override /model: tiny\n- override /data: tiny\n\n"
        "name: typos\ntuning: {rnak: 8}\ntraining:\n  learnig_rate: 0.1\n  precision: bf17\n",
    )
    assert told("+recipe=typos", "training.epochs=-1", "seed=abc") == [
        "recipes/typos.yaml:6: tuning.rnak: unknown key; did you mean 'rank'?",
        "recipes/typos.yaml:8: training.learnig_rate: unknown key; did you mean 'learning_rate'?",
        "recipes/typos.yaml:9: training.precision: should be 'bf16', 'fp16' or 'fp32', got 'bf17'; "
        "did you mean 'bf16'?",
        "command line 'training.epochs=-1': should be greater than or equal to 1, got -1",
        "command line 'seed=abc': should be a valid integer, unable to parse string as an integer, got 'abc'",
    ]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("data:\n  train: hf:foo\n", "6: data.train: 'hf:' needs two slashes: 'hf://…', got 'hf:foo'"),
        (
            "data:\n  train:\n  - rows.jsonl\n  - url: hf:foo\n",
            "8: data.train.1.url: 'hf:' needs two slashes: 'hf://…', got 'hf:foo'",
        ),
        (
            "data:\n  train:\n    url: rows.jsonl\n    sha: abc\n",
            "8: data.train.sha: unknown key; did you mean 'sha256'?",
        ),
        (
            "gates:\n  exact_match:\n    mn: 0.5\n",
            "7: gates.exact_match.mn: unknown key; did you mean 'min'?",
        ),
        ("gates: {exact_match: {}}\n", "5: gates.exact_match: give 'min', 'max' or both"),
        (
            "gates: {exact_match: 0.5}\n",
            "5: gates.exact_match: should be a mapping with the keys min, max, got 0.5",
        ),
        ("training:\n  epochs: many\n", "6: training.epochs: should be a valid integer, "),
        ("training: 3\n", "5: training: should be a mapping, got 3; choose one with 'training=<option>'"),
        ("training: null\n", "5: training: no option is chosen; choose one with 'training=<option>'"),
        (
            "environment: {min_replicas: 9}\n",
            "5: environment: 'min_replicas' (9) is above 'max_replicas' (2)",
        ),
        (
            "deployment:\n  requests: {cpu: 9}\n",
            "5: deployment: 'requests.cpu' (9) is above 'limits.cpu' (4)",
        ),
        ("deployment:\n  requests:\n    cpu: lots\n", "7: deployment.requests.cpu: should be CPU cores "),
        ("plugins: 3\n", "5: plugins: should be a list, got 3"),
        ("name: Big Name\n", "5: name: "),
        ("seed: ${nope}\n", "5: seed: Interpolation key 'nope' not found"),
        ("seed: ${oc.env:GITUNE_NOPE}\n", "5: seed: Environment variable 'GITUNE_NOPE' not found"),
        (
            "benchmark:\n  repeats: ???\n",
            "6: benchmark.repeats: this key is required; give it in the recipe or as ",
        ),
    ],
)
def test_a_problem_names_the_file_and_the_line(team, told, body, line):
    team("recipes/x.yaml", TINY + body)
    assert len(found := told("+recipe=x")) == 1, found
    assert found[0].startswith(f"recipes/x.yaml:{line}"), found[0]


def test_the_file_that_holds_the_key_is_blamed_not_one_that_holds_its_group(team, told):
    team(
        "conf/training/fast.yaml",
        "_target_: framework.build.training.supervised.Supervised\n\nlearning_rate: -1\n",
    )
    team("recipes/x.yaml", f"{TINY}- override /training: fast\ntraining: {{epochs: 2}}\n")
    assert told("+recipe=x") == [
        "conf/training/fast.yaml:3: training.learning_rate: should be greater than 0, got -1"
    ]


def test_of_two_recipes_the_one_that_was_merged_last_is_blamed(team, told):
    team("recipes/base.yaml", f"{TINY}training: {{epochs: 0}}\nname: 3\n")
    team("recipes/x.yaml", "defaults:\n- base\n- _self_\ntraining: {epochs: -1}\n")
    assert told("+recipe=x") == [
        "recipes/base.yaml:6: name: should be a valid string, got 3",
        "recipes/x.yaml:4: training.epochs: should be greater than or equal to 1, got -1",
    ]


def test_a_recipe_in_a_folder_is_named_with_it(team, told):
    team("recipes/deep/down/x.yaml", f"{TINY}seed: -1\n")
    (line,) = told("+recipe=deep/down/x")
    assert line.startswith("recipes/deep/down/x.yaml:5: seed: ")


def test_the_last_override_of_a_key_is_blamed(told):
    assert told("+recipe=tiny", "seed=-1", "seed=-2") == [
        "command line 'seed=-2': should be greater than or equal to 0, got -2"
    ]


def test_choosing_an_option_is_not_writing_its_keys(team, told):
    team("conf/tuning/lora.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 0\n")
    assert told("+recipe=tiny", "tuning=lora") == [
        "conf/tuning/lora.yaml:2: tuning.rank: should be greater than or equal to 1, got 0"
    ]


def test_an_override_inside_is_blamed_for_what_no_longer_fits_together(told):
    assert told("+recipe=tiny", "environment.min_replicas=9") == [
        "command line 'environment.min_replicas=9': 'min_replicas' (9) is above 'max_replicas' (2)"
    ]


def test_a_missing_value_does_not_hide_the_other_problems(told):
    required, typo = told("data=files", "tunning=lora")
    assert required.endswith(
        "conf/data/files.yaml:3: data.train: this key is required; "
        "give it in the recipe or as 'data.train=<value>'"
    )
    assert typo == "command line 'tunning=lora': unknown key; did you mean 'tuning'?"


def test_a_gate_of_one_candidate_can_be_given_on_the_command_line(team, config, told):
    team("recipes/x.yaml", f"{TINY}gates:\n  int4.exact_match: {{min: 0.5, max: 0.9}}\n")
    bound = config("+recipe=x", "gates.int4.exact_match.min=0.6").gates["int4.exact_match"]
    assert (bound.min, bound.max) == (0.6, 0.9)
    assert told("+recipe=tiny", "gates.int4.exact_match.mn=0.6") == [
        "command line 'gates.int4.exact_match.mn=0.6': unknown key; did you mean 'min'?"
    ]


def test_a_group_without_an_option_is_named(told):
    assert told("+recipe=tiny", "~tuning") == [
        "command line '~tuning': no option is chosen; choose one with 'tuning=<option>'"
    ]


@pytest.mark.parametrize(("foreign", "ours"), FOREIGN.items())
def test_a_key_of_another_tool_is_refused_with_the_right_name(foreign, ours, told):
    assert told("+recipe=tiny", f"{foreign}=1") == [
        f"command line '{foreign}=1': unknown key; it is called '{ours}' here"
    ]


@pytest.mark.parametrize("ours", sorted(set(FOREIGN.values())))
def test_the_right_name_is_really_there(ours, config):
    valid = config("+recipe=tiny", "tuning=lora")
    group, _, key = ours.partition(".")
    if key:
        assert key in type(getattr(valid, group)).model_fields
    else:
        assert group.removesuffix("=<option>") in Config.model_fields


def test_a_key_of_another_group_is_found(told):
    assert told("+recipe=tiny", "epochs=3", "tuning.learning_rate=1", "training.seed=1") == [
        "command line 'epochs=3': unknown key; did you mean 'training.epochs'?",
        "command line 'tuning.learning_rate=1': unknown key; did you mean 'training.learning_rate'?",
        "command line 'training.seed=1': unknown key; did you mean 'seed'?",
    ]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.path.join", "is outside the allowed packages (framework); name its package under 'plugins'"),
        ("frameworks.model.X", "is outside the allowed packages"),
        ("3", "is outside the allowed packages"),
        ("framework.nope.X", "cannot be imported: No module named 'framework.nope'"),
        (
            "framework.build.model.tiny.Nope",
            "cannot be imported: module 'framework.build.model.tiny' has no attribute 'Nope'",
        ),
        ("framework.build.tuning.lora.LoRA", "is not a framework.build.model.Model"),
        ("framework.build.model.Model", "is not a framework.build.model.Model"),
    ],
)
def test_a_target_that_may_not_be_used(told, target, said):
    (line,) = told("+recipe=tiny", f"model._target_={target}")
    assert line.startswith(f"command line 'model._target_={target}': _target_ '{target}' {said}")


PLUGIN = "from framework.build.tuning.full import Full\n\n\nclass Mine(Full):\n    strength: int = 1\n"


@pytest.fixture
def plugin(team, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    team("ourpackage/__init__.py", "")
    team("ourpackage/mine.py", PLUGIN)
    team("conf/tuning/mine.yaml", "_target_: ourpackage.mine.Mine\nstrength: 2\n")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "ourpackage"]:
        del sys.modules[name]


@pytest.mark.usefixtures("plugin")
def test_a_package_of_the_working_folder_must_be_named_as_a_plugin(told):
    (line,) = told("+recipe=tiny", "tuning=mine")
    assert line == (
        "conf/tuning/mine.yaml:1: tuning._target_: _target_ 'ourpackage.mine.Mine' is outside the allowed "
        "packages (framework); name its package under 'plugins' to allow it"
    )
    assert "ourpackage" not in sys.modules


@pytest.mark.usefixtures("plugin")
def test_a_named_plugin_of_the_working_folder_is_used(config, told):
    assert config("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]").tuning.strength == 2
    assert told("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]", "tuning.strenth=1") == [
        "command line 'tuning.strenth=1': unknown key; did you mean 'strength'?"
    ]


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_breaks_while_it_is_imported_is_named(team, told):
    team("ourpackage/mine.py", "1 / 0\n")
    (line,) = told("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]")
    assert line.endswith("_target_ 'ourpackage.mine.Mine' cannot be imported: division by zero")


def test_a_password_in_a_url_is_not_repeated(told):
    (line,) = told("+recipe=tiny", "data.train=[a.jsonl,'s3://me:secret@host/x']")
    assert "contains a password" in line
    assert "'s3://me:***@host/x'" in line.partition("got ")[2]


def test_a_long_value_is_shortened(told):
    (line,) = told("+recipe=tiny", f"seed={'x' * 500}")
    assert line.endswith("…")
    assert len(line.rpartition("got ")[2]) == 60


def test_interpolations_are_resolved(config):
    assert config("+recipe=tiny", "name=${model.name}").name == "tiny-random-llama"


@pytest.mark.parametrize("word", ["seed=1", "+seed=1", "++seed=1"])
def test_an_override_may_say_that_it_adds(config, word):
    assert config("+recipe=tiny", word).seed == 1


def test_a_key_can_be_taken_out(config):
    assert config("+recipe=tiny", "tuning=lora", "tuning.rank=3", "~tuning.rank").tuning.rank == 16
