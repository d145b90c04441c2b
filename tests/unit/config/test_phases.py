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
def told(phased):
    def problems(body: str, *words: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            phased(body, *words)
        return str(caught.value).split("\n  ")[1:]

    return problems


def test_a_key_changes_the_recipes_option_and_a_chosen_option_replaces_it(phased):
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


def test_the_last_phase_is_what_the_rest_of_the_config_is_about(phased):
    found = phased(BODY)
    last = found.phases["second"]
    assert (found.data, found.tuning, found.training) == (last.data, last.tuning, last.training)


def test_an_option_that_is_chosen_again_inherits_nothing(team, config):
    team("conf/tuning/wide.yaml", "_target_: framework.build.tuning.lora.LoRA\nrank: 64\n")
    choice = "- /tuning@phases.only.tuning: wide\n"
    team(
        "recipes/x.yaml",
        HEAD.replace("- override /model", f"{choice}- override /model") + "phases: {only: {}, second: {}}\n",
    )
    found = config("+recipe=x").phases["only"].tuning
    assert (found.rank, found.alpha) == (64, LoRA().alpha)


def test_phases_run_in_the_order_of_the_recipe_not_of_its_defaults(phased):
    assert list(phased("phases: {zero: {}, second: {}, first: {}}\n").phases) == ["zero", "second", "first"]


def test_a_recipe_that_extends_another_adds_phases_at_the_end(phased, team, config):
    phased(BODY)
    team("recipes/y.yaml", "defaults: [x, _self_]\nphases: {third: {}, first: {training: {epochs: 9}}}\n")
    found = config("+recipe=y").phases
    assert list(found) == ["first", "second", "third"]
    assert found["first"].training.epochs == 9


def test_overrides_reach_a_phase(phased):
    found = phased(BODY, "phases.first.tuning.rank=2", "data@phases.second.data=tiny", "tuning.alpha=3")
    assert (found.phases["first"].tuning.rank, found.phases["first"].tuning.alpha) == (2, 3)
    assert found.phases["second"].data == found.phases["first"].data
    assert list(phased(BODY, "~phases.second").phases) == ["first"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "phases:\n  first:\n    trainig: {epochs: 1}\n  second: {}\n",
            "recipes/x.yaml:11: phases.first.trainig: unknown key; did you mean 'training'?",
        ),
        (
            "phases:\n  first:\n    training:\n      epoch: 1\n  second: {}\n",
            "recipes/x.yaml:12: phases.first.training.epoch: unknown key; did you mean 'epochs'?",
        ),
        (
            "phases:\n  first: {model: tiny}\n  second: {}\n",
            "recipes/x.yaml:10: phases.first.model: unknown key; known are: data, tuning, training",
        ),
        (
            "phases:\n  first:\n  second: {}\n",
            "recipes/x.yaml:10: phases.first: should be a mapping with the keys data, tuning, training, "
            "got None",
        ),
        (
            "phases:\n  first: {}\n  second:\n    tuning: {rank: 8}\n",
            "recipes/x.yaml:12: phases.second.tuning.rank: unknown key; Full has none, leave it out",
        ),
        (
            "phases: {first: {}}\n",
            "conf/tuning/full.yaml:1: phases.second: no recipe names this phase, so it has no place "
            "among the others; write it below 'phases:' where its turn is, as 'second: {}'",
        ),
        (
            "phases:\n  base: {}\n  second: {}\n",
            "recipes/x.yaml:9: phases: a phase cannot be called 'base': its name is at most 13 lower-case "
            "letters, digits and dashes, a letter first, and none of base, tuned, fp32",
        ),
    ],
)
def test_a_problem_in_a_phase_names_its_line(told, body, line):
    (found,) = told(body)
    assert found.endswith(line)


def test_a_mistake_that_phases_inherit_is_told_once_where_it_stands(told):
    assert told(BODY, "training.epoch=3", "seed=x") == [
        "command line 'training.epoch=3': unknown key; did you mean 'epochs'?",
        "command line 'seed=x': should be a valid integer, unable to parse string as an integer, got 'x'",
    ]


def test_a_phase_is_not_made_by_a_typing_error(told):
    (line,) = told(BODY, "phases.frist.training.epochs=3")
    assert (
        line
        == "command line 'phases.frist.training.epochs=3': no recipe names this phase; did you mean 'first'?"
    )


def test_the_recipes_own_data_may_be_unfinished_where_each_phase_has_its_own(team, config):
    head = "defaults:\n- override /model: tiny\nname: x\ndata: {max_length: 64}\n"
    team("recipes/x.yaml", head + "phases:\n  a: {data: {train: a.jsonl}}\n  b: {data: {train: b.jsonl}}\n")
    found = config("+recipe=x")
    assert [phase.data.max_length for phase in found.phases.values()] == [64, 64]
    assert found.data.train[0].url == "b.jsonl"
    team("recipes/x.yaml", head + "phases:\n  a: {data: {train: a.jsonl}}\n  b: {}\n")
    with pytest.raises(ConfigError) as caught:
        config("+recipe=x")
    assert (
        str(caught.value)
        == "Config is invalid:\n  recipes/x.yaml:7: phases.b.data.train: this key is required"
    )


def test_a_mix_takes_its_parts_by_name_and_reports_lines_in_them(team, config):
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
    assert str(caught.value).split("\n  ")[1:] == [
        "recipes/x.yaml:10: data.parts.general.shar: unknown key; did you mean 'share'?",
        "recipes/x.yaml:11: data.parts.general.data.trian: unknown key; did you mean 'train'?",
    ]
