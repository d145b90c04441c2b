import pickle

import pytest

from framework.core.errors import ConfigError, PlanError, invalid_config
from framework.core.problem import Problem


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem("a.b", "too large"), "a.b: too large"),
        (Problem("", "too large"), "too large"),
        (Problem("a.b", "too large", ("a.b=1",)), "a.b: too large; set a.b=1"),
        (Problem("a.b", "too large", ("a.b=1 c=2", "d=3")), "a.b: too large; set a.b=1 c=2, or d=3"),
        (Problem("a.b", "too large", advice="buy more"), "a.b: too large; buy more"),
        (Problem("a.b", "too large", ("d=3",), "buy more"), "a.b: too large; set d=3, or buy more"),
        (
            Problem("tuning", "no", ("tuning@phases.x.tuning=lora",)),
            "tuning: no; set '- /tuning@phases.x.tuning: lora' in 'defaults'",
        ),
    ],
)
def test_problem_is_put_into_words(problem, words):
    assert str(problem) == words


def test_within_moves_only_its_groups():
    problem = Problem("training.epochs", "why", ("training.epochs=1 data=tiny", "parallelism=ddp"))
    moved = problem.within("phases.x", ("data", "training"))
    assert moved.key == "phases.x.training.epochs"
    assert moved.overrides == ("phases.x.training.epochs=1 data@phases.x.data=tiny", "parallelism=ddp")
    assert moved.reason == problem.reason


def test_within_moves_no_key_that_only_begins_alike():
    problem = Problem("training", "why", ("trainings=1",))
    assert problem.within("phases.x", ("training",)) == Problem("phases.x.training", "why", ("trainings=1",))


def test_below_sets_a_field_of_an_option():
    problem = Problem("layers", "why", ("layers=null", "compression=none")).below(
        "compression.d", ("layers",)
    )
    assert problem.key == "compression.d.layers"
    assert problem.overrides == ("compression.d.layers=null", "compression=none")


def test_place_that_names_the_key_replaces_it():
    problem = Problem("seed", "too small", ("seed=0",))
    assert problem.at("x.yaml:3") == "x.yaml:3: seed: too small; set seed=0"
    assert problem.at("command line 'seed=-1'", names_key=True) == (
        "command line 'seed=-1': too small; set seed=0"
    )


@pytest.mark.parametrize("error", [PlanError, ConfigError])
def test_errors_carry_their_problems(error):
    found = [Problem("a", "x"), Problem("b", "y", ("b=1",))]
    raised = error("It cannot run:", found)
    assert raised.problems == tuple(found)
    assert str(raised) == "It cannot run:\n  a: x\n  b: y; set b=1"
    assert str(error(problems=found)) == "a: x\nb: y; set b=1"
    assert str(pickle.loads(pickle.dumps(raised))) == str(raised)


def test_config_error_prints_located_lines():
    raised = invalid_config([Problem("a", "x")], ["x.yaml:1: a: x"])
    assert str(raised) == "Config is invalid:\n  x.yaml:1: a: x"
    assert raised.problems == (Problem("a", "x"),)
