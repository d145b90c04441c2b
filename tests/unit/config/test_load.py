import sys

import pytest

from framework.core.errors import ConfigError

TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n"  # 4 lines


@pytest.fixture
def rejected(config):
    """The error of a config that is invalid."""

    def call(*words: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            config(*words)
        assert str(caught.value).split("\n  ") == ["Config is invalid:", *caught.value.lines]
        assert caught.value.exit_code == 2
        return caught.value

    return call


@pytest.fixture
def lines(rejected):
    """The lines of a config that is invalid, each with its place."""
    return lambda *words: list(rejected(*words).lines)


def test_problems_are_sorted_by_place(team, lines):
    team(
        "recipes/typos.yaml",
        "defaults:\n- override /model: tiny\n- override /data: tiny\n\n"
        "name: typos\ntuning: {rnak: 8}\ntraining:\n  learnig_rate: 0.1\n  precision: bf17\n",
    )
    assert lines("+recipe=typos", "training.epochs=-1", "seed=abc") == [
        "recipes/typos.yaml:6: tuning.rnak: unknown key; did you mean 'rank'?",
        "recipes/typos.yaml:8: training.learnig_rate: unknown key; did you mean 'learning_rate'?",
        "recipes/typos.yaml:9: training.precision: should be 'bf16', 'fp16' or 'fp32', got 'bf17'; "
        "did you mean 'bf16'?",
        "command line 'training.epochs=-1': should be greater than or equal to 1, got -1",
        "command line 'seed=abc': should be a valid integer, unable to parse string as an integer, got 'abc'",
    ]


MISTAKES = (
    (
        ("data:\n  train: hf:foo\n", 2, "data.train", ""),
        ("gates:\n  exact_match:\n    mn: 0.5\n", 3, "gates.exact_match.mn", "did you mean 'min'?"),
        ("training:\n  epochs: many\n", 2, "training.epochs", ""),
        ("environment: {min_replicas: 9}\n", 1, "environment", ""),
        ("deployment:\n  requests: {cpu: 9}\n", 1, "deployment", ""),
        ("plugins: 3\n", 1, "plugins", ""),
        ("name: Big Name\n", 1, "name", ""),
        ("seed: ${nope}\n", 1, "seed", ""),
        ("benchmark:\n  repeats: ???\n", 2, "benchmark.repeats", "benchmark.repeats=<value>"),
    ),
    (
        ("data:\n  train:\n  - rows.jsonl\n  - url: hf:foo\n", 4, "data.train.1.url", ""),
        ("gates: {exact_match: {}}\n", 1, "gates.exact_match", ""),
        ("training: 3\n", 1, "training", "training=<option>"),
        ("deployment:\n  requests:\n    cpu: lots\n", 3, "deployment.requests.cpu", ""),
        ("seed: ${oc.env:GITUNE_NOPE}\n", 1, "seed", ""),
    ),
    (
        ("data:\n  train:\n    url: a.jsonl\n    sha: abc\n", 4, "data.train.sha", "did you mean 'sha256'?"),
        ("gates: {exact_match: 0.5}\n", 1, "gates.exact_match", ""),
        ("training: null\n", 1, "training", "training=<option>"),
    ),
)
"""Bodies of recipes, with the line, the key and the remedy of their problem; each row is one recipe."""


@pytest.mark.parametrize("mistakes", MISTAKES, ids=len)
def test_problem_names_file_line_and_key(team, rejected, mistakes):
    team("recipes/x.yaml", TINY + "".join(body for body, *_ in mistakes))
    error = rejected("+recipe=x")
    found = {problem.key: (problem, text) for problem, text in zip(error.problems, error.lines, strict=True)}
    assert sorted(problem.key for problem in error.problems) == sorted(key for _, _, key, _ in mistakes)
    above = TINY.count("\n")
    for body, line, key, remedy in mistakes:
        problem, text = found[key]
        assert remedy in (problem.advice, *problem.overrides)
        assert text == f"recipes/x.yaml:{above + line}: {problem}"
        above += body.count("\n")


def test_file_of_the_key_is_named_not_of_its_group(team, lines):
    team(
        "conf/training/fast.yaml",
        "_target_: framework.build.training.supervised.Supervised\n\nlearning_rate: -1\n",
    )
    team("recipes/x.yaml", f"{TINY}- override /training: fast\ntraining: {{epochs: 2}}\n")
    assert lines("+recipe=x") == [
        "conf/training/fast.yaml:3: training.learning_rate: should be greater than 0, got -1"
    ]


def test_recipe_that_was_merged_last_is_named(team, lines):
    team("recipes/base.yaml", f"{TINY}training: {{epochs: 0}}\nname: 3\n")
    team("recipes/x.yaml", "defaults:\n- base\n- _self_\ntraining: {epochs: -1}\n")
    assert lines("+recipe=x") == [
        "recipes/base.yaml:6: name: should be a valid string, got 3",
        "recipes/x.yaml:4: training.epochs: should be greater than or equal to 1, got -1",
    ]


def test_recipe_in_a_folder_is_named_with_it(team, lines):
    team("recipes/deep/down/x.yaml", f"{TINY}seed: -1\n")
    (line,) = lines("+recipe=deep/down/x")
    assert line.startswith("recipes/deep/down/x.yaml:5: seed: ")


def test_last_override_of_a_key_is_named(lines):
    assert lines("+recipe=tiny", "seed=-1", "seed=-2") == [
        "command line 'seed=-2': should be greater than or equal to 0, got -2"
    ]


def test_option_file_is_named_not_the_choice(team, lines):
    team("conf/tuning/lora.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 0\n")
    assert lines("+recipe=tiny", "tuning=lora") == [
        "conf/tuning/lora.yaml:2: tuning.rank: should be greater than or equal to 1, got 0"
    ]


def test_override_of_a_field_is_named_for_its_group(lines):
    assert lines("+recipe=tiny", "environment.min_replicas=9") == [
        "command line 'environment.min_replicas=9': 'min_replicas' (9) is above 'max_replicas' (2)"
    ]


def test_missing_value_hides_no_other_problem(lines):
    required, typo = lines("data=files", "tunning=lora")
    assert "conf/data/files.yaml:3: data.train: " in required
    assert required.endswith("set data.train=<value>")
    assert typo == "command line 'tunning=lora': unknown key; did you mean 'tuning'?"


def test_gate_of_a_candidate_can_be_overridden(team, config, lines):
    team("recipes/x.yaml", f"{TINY}gates:\n  int4.exact_match: {{min: 0.5, max: 0.9}}\n")
    bound = config("+recipe=x", "gates.int4.exact_match.min=0.6").gates["int4.exact_match"]
    assert (bound.min, bound.max) == (0.6, 0.9)
    assert lines("+recipe=tiny", "gates.int4.exact_match.mn=0.6") == [
        "command line 'gates.int4.exact_match.mn=0.6': unknown key; did you mean 'min'?"
    ]


def test_group_without_an_option_is_named(lines):
    assert lines("+recipe=tiny", "~tuning") == [
        "command line '~tuning': no option is chosen; set tuning=<option>"
    ]


@pytest.mark.parametrize("value", ["abc", "0", "[1]", "1.5"])
def test_union_is_one_line_with_all_that_it_accepts(lines, value):
    (line,) = lines("+recipe=tiny", f"training.micro_batch_size={value}")
    assert "should be an integer of at least 1 or 'auto', got " in line
    assert "constrained" not in line


@pytest.mark.parametrize(
    ("override", "ours"),
    [("training.optimizer=adamw_bnb_8bit", "adamw-8bit"), ("training.schedule=warmup_stable_decay", "wsd")],
)
def test_value_of_another_tool_is_answered_with_ours(lines, override, ours):
    (line,) = lines("+recipe=tiny", override)
    assert line.endswith(f"did you mean '{ours}'?")


def test_key_of_another_group_is_suggested(lines):
    assert lines("+recipe=tiny", "epochs=3", "tuning.learning_rate=1", "training.seed=1") == [
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
def test_forbidden_target_is_rejected(lines, target, said):
    (line,) = lines("+recipe=tiny", f"model._target_={target}")
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
def test_package_must_be_named_as_a_plugin(lines):
    (line,) = lines("+recipe=tiny", "tuning=mine")
    assert line == (
        "conf/tuning/mine.yaml:1: tuning._target_: _target_ 'ourpackage.mine.Mine' is outside the allowed "
        "packages (framework); name its package under 'plugins' to allow it"
    )
    assert "ourpackage" not in sys.modules


@pytest.mark.usefixtures("plugin")
def test_named_plugin_is_used(config, lines):
    assert config("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]").tuning.strength == 2
    assert lines("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]", "tuning.strenth=1") == [
        "command line 'tuning.strenth=1': unknown key; did you mean 'strength'?"
    ]


@pytest.mark.usefixtures("plugin")
def test_plugin_that_fails_to_import_is_named(team, lines):
    team("ourpackage/mine.py", "1 / 0\n")
    (line,) = lines("+recipe=tiny", "tuning=mine", "plugins=[ourpackage]")
    assert line.endswith("_target_ 'ourpackage.mine.Mine' cannot be imported: division by zero")


def test_password_in_a_url_is_masked(lines):
    (line,) = lines("+recipe=tiny", "data.train=[a.jsonl,'s3://me:secret@host/x']")
    assert "contains a password" in line
    assert "'s3://me:***@host/x'" in line.partition("got ")[2]


def test_long_value_is_shortened(lines):
    (line,) = lines("+recipe=tiny", f"seed={'x' * 500}")
    assert line.endswith("…")
    assert len(line.rpartition("got ")[2]) == 60


def test_interpolation_is_resolved(config):
    assert config("+recipe=tiny", "name=${model.name}").name == "tiny-random-llama"


@pytest.mark.parametrize("word", ["seed=1", "+seed=1", "++seed=1"])
def test_override_may_have_an_adding_prefix(config, word):
    assert config("+recipe=tiny", word).seed == 1


def test_key_can_be_deleted(config):
    assert config("+recipe=tiny", "tuning=lora", "tuning.rank=3", "~tuning.rank").tuning.rank == 16
