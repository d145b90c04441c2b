import pytest

from framework.build.tuning.full import Full
from framework.build.tuning.lora import LoRA
from framework.core.errors import ConfigError

HEAD = """defaults:
- /data@phases.second.data: factbook
- /tuning@phases.second.tuning: full
- override /model: tiny
- override /data: tiny
name: x
tuning: {rank: 4, alpha: 8}
training: {epochs: 2, learning_rate: 1e-3}
"""  # 8 lines
BODY = "phases:\n  first:\n    training: {epochs: 1}\n  second:\n    training: {learning_rate: 5e-4}\n"


@pytest.fixture
def phased(team, config):
    """The config of a recipe in which *body* follows HEAD, with overrides."""

    def compose(body: str, *words: str):
        team("recipes/x.yaml", HEAD + body)
        return config("+recipe=x", *words)

    return compose


@pytest.fixture
def rejected(phased):
    def call(body: str, *words: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            phased(body, *words)
        return caught.value

    return call


def test_key_changes_an_option_and_a_choice_replaces_it(phased):
    found = phased(BODY).phases
    assert list(found) == ["first", "second"]
    first, second = found.values()
    assert (first.training.epochs, first.training.learning_rate) == (1, 1e-3)
    assert (second.training.epochs, second.training.learning_rate) == (2, 5e-4)
    assert isinstance(first.tuning, LoRA)
    assert (first.tuning.rank, first.tuning.alpha) == (4, 8)
    assert isinstance(second.tuning, Full)
    assert first.data.train[0].url.endswith("tiny/train.jsonl")
    assert second.data.train[0].url.endswith("factbook/train.jsonl")


def test_last_phase_provides_the_recipes_groups(phased):
    found = phased(BODY)
    last = found.phases["second"]
    assert (found.data, found.tuning, found.training) == (last.data, last.tuning, last.training)


def test_chosen_option_inherits_nothing(team, config):
    team("conf/tuning/wide.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 64\n")
    choice = "- /tuning@phases.only.tuning: wide\n"
    team(
        "recipes/x.yaml",
        HEAD.replace("- override /model", f"{choice}- override /model") + "phases: {only: {}, second: {}}\n",
    )
    found = config("+recipe=x").phases["only"].tuning
    assert (found.rank, found.alpha) == (64, LoRA().alpha)


def test_phases_run_in_the_order_of_the_recipe(phased):
    assert list(phased("phases: {zero: {}, second: {}, first: {}}\n").phases) == ["zero", "second", "first"]


def test_extending_recipe_adds_phases_at_the_end(phased, team, config):
    phased(BODY)
    team("recipes/y.yaml", "defaults: [x, _self_]\nphases: {third: {}, first: {training: {epochs: 9}}}\n")
    found = config("+recipe=y").phases
    assert list(found) == ["first", "second", "third"]
    assert found["first"].training.epochs == 9


def test_override_reaches_a_phase(phased):
    found = phased(BODY, "phases.first.tuning.rank=2", "data@phases.second.data=tiny", "tuning.alpha=3")
    assert (found.phases["first"].tuning.rank, found.phases["first"].tuning.alpha) == (2, 3)
    assert found.phases["second"].data == found.phases["first"].data
    assert list(phased(BODY, "~phases.second").phases) == ["first"]


@pytest.mark.parametrize(
    ("body", "place", "key", "advice"),
    [
        (
            "phases:\n  first:\n    trainig: {epochs: 1}\n  second: {}\n",
            "recipes/x.yaml:11",
            "phases.first.trainig",
            "did you mean 'training'?",
        ),
        (
            "phases:\n  first:\n    training:\n      epoch: 1\n  second: {}\n",
            "recipes/x.yaml:12",
            "phases.first.training.epoch",
            "use 'phases.first.training.epochs'",
        ),
        (
            "phases:\n  first: {model: tiny}\n  second: {}\n",
            "recipes/x.yaml:10",
            "phases.first.model",
            "choose one of data, tuning, training",
        ),
        ("phases:\n  first:\n  second: {}\n", "recipes/x.yaml:10", "phases.first", ""),
        (
            "phases:\n  first: {}\n  second:\n    tuning: {rank: 8}\n",
            "recipes/x.yaml:12",
            "phases.second.tuning.rank",
            "it is a key of tuning=lora",
        ),
        (
            "phases: {first: {}}\n",
            "recipes/x.yaml:3",
            "phases.second",
            "add 'second: {}' below 'phases:', at its position",
        ),
        ("phases:\n  base: {}\n  second: {}\n", "recipes/x.yaml:9", "phases", ""),
    ],
)
def test_problem_in_a_phase_names_its_line(rejected, body, place, key, advice):
    error = rejected(body)
    (problem,), (line,) = error.problems, error.lines
    assert (problem.key, problem.advice) == (key, advice)
    assert line.endswith(f"{place}: {problem}")


def test_inherited_mistake_is_reported_once(rejected):
    error = rejected(BODY, "training.epoch=3", "seed=x")
    assert [problem.key for problem in error.problems] == ["training.epoch", "seed"]
    assert [line.partition(": ")[0] for line in error.lines] == [
        "command line 'training.epoch=3'",
        "command line 'seed=x'",
    ]


def test_typo_makes_no_phase(rejected):
    error = rejected(BODY, "phases.frist.training.epochs=3")
    assert error.problems[0].advice == "did you mean 'first'?"
    assert error.lines[0].startswith("command line 'phases.frist.training.epochs=3': ")


def test_recipe_data_may_be_left_to_the_phases(team, config):
    head = "defaults:\n- override /model: tiny\nname: x\ndata: {max_length: 64}\n"
    team("recipes/x.yaml", head + "phases:\n  a: {data: {train: a.jsonl}}\n  b: {data: {train: b.jsonl}}\n")
    found = config("+recipe=x")
    assert [phase.data.max_length for phase in found.phases.values()] == [64, 64]
    assert found.data.train[0].url == "b.jsonl"
    team("recipes/x.yaml", head + "phases:\n  a: {data: {train: a.jsonl}}\n  b: {}\n")
    with pytest.raises(ConfigError) as caught:
        config("+recipe=x")
    assert [problem.key for problem in caught.value.problems] == ["phases.b.data.train"]
    assert caught.value.lines[0].startswith("recipes/x.yaml:7: ")


def test_mix_reports_lines_of_its_parts(team, config):
    head = (
        "defaults:\n- /data@data.parts.general.data: factbook\n- /data@data.parts.new.data: tiny\n"
        "- override /model: tiny\n- override /data: mix\nname: x\n"
    )
    team("recipes/x.yaml", head + "data:\n  rows: 20\n  parts:\n    general: {share: 3}\n")
    found = config("+recipe=x", "data.parts.new.share=2").data
    assert {name: part.share for name, part in found.parts.items()} == {"general": 3, "new": 2}
    assert found.parts["general"].data.train[0].url.endswith("factbook/train.jsonl")
    team("recipes/x.yaml", head + "data:\n  parts:\n    general:\n      shar: 3\n      data: {trian: a}\n")
    with pytest.raises(ConfigError) as caught:
        config("+recipe=x")
    assert list(caught.value.lines) == [
        "recipes/x.yaml:10: data.parts.general.shar: unknown key; did you mean 'share'?",
        "recipes/x.yaml:11: data.parts.general.data.trian: unknown key; did you mean 'train'?",
    ]
