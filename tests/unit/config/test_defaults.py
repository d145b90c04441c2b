"""Every wrong entry of a recipe's ``defaults`` is named with its line; right ones compose."""

import pytest

from framework.config.read_recipe import read_recipe

TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n"  # 4 lines


@pytest.mark.parametrize(
    ("entry", "key", "advice"),
    [
        ("override /export: tranformers", "export", "did you mean 'transformers'?"),
        ("override /export: zzz", "export", "choose one of gguf, onnx"),
        ("override /export: 3", "export", "choose one of gguf, onnx"),
        ("override /export: {a: b}", "export", "choose one of gguf, onnx"),
        ("override /export: [onnx, onnx-genai]", "export", "write '/export: onnx'"),
        ("override /compression: [qat, qat]", "compression", "leave one out"),
        ("override /exprot: onnx", "export", "write 'override /export: onnx'"),
        ("override export: onnx", "export", "write 'override /export: onnx'"),
        ("export: onnx", "export", "write 'override /export: onnx'"),
        ("/export: onnx", "export", "write 'override /export: onnx'"),
        ("overide /export: onnx", "export", "write 'override /export: onnx'"),
        ("override /export onnx", "defaults", "write 'override /export: <option>'"),
        ("/export/onnx", "export", "write 'override /export: onnx'"),
        ("override /experiment: a", "experiment", "write '/experiment: a', above the overrides"),
        ("/experiment: a", "experiment", "write '/experiment: a', above the overrides"),
        ("override /tuning: lora", "tuning", "leave one of the two out"),
        ("override /export: null", "export", "choose one of gguf, onnx"),
        ("/export@_global_: onnx", "export", "write 'override /export: onnx'"),
        ("optional /export: zzz", "export", "choose one of gguf, onnx"),
        ("optional /exprot: onnx", "export", "write 'override /export: onnx'"),
        ("based", "recipe", "move overrides to the end"),
        ("nope", "recipe", "choose one of based, "),
        ("bsed", "recipe", "did you mean 'based'?"),
        ("x", "recipe", "leave it out"),
        ("/based", "recipe", "write '/recipe/based'"),
        ("recipe: based", "recipe", "write '- /recipe/based'"),
        ("42", "defaults", "write a recipe's name"),
        ("null", "defaults", "write a recipe's name"),
        ("[a]", "defaults", "write a recipe's name"),
        ("{/export: onnx, /tuning: lora}", "defaults", "write a recipe's name"),
    ],
)
def test_wrong_entry_of_defaults_is_named(team, entry, key, advice):
    team("conf/experiment/a.yaml", "# @package _global_\nseed: 5\n")
    team("recipes/based.yaml", "name: based\n")
    fault, *others = read_recipe(team("recipes/x.yaml", f"{TINY}- {entry}\n"), "x").faults
    assert fault.problem.key == key
    assert fault.problem.advice.startswith(advice)
    assert {each.line for each in (fault, *others)} == {5}


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ("optional /experiment: ${recipe}", {"optional /experiment": "${recipe}"}),
        ("optional /experiment: [a, zzz]", {"/experiment": ["a"]}),
        ("optional /experiment: zzz", None),
        ("/experiment: null", {"/experiment": None}),
        ("/shared/ok", "/shared/ok"),
        ("/base/deep/x", "/base/deep/x"),
        ("/recipe/deep: in", {"/recipe/deep": "in"}),
    ],
)
def test_entry_of_a_teams_own_group_is_left_to_hydra(team, entry, kept):
    for name in ("conf/experiment/a", "conf/shared/ok", "conf/base/deep/x", "recipes/deep/in"):
        team(f"{name}.yaml", "# @package _global_\nseed: 5\n")
    recipe = read_recipe(team("recipes/x.yaml", f"defaults:\n- {entry}\n"), "x")
    assert (recipe.faults, recipe.content["defaults"]) == ((), [] if kept is None else [kept])


@pytest.mark.parametrize(
    ("entries", "rest", "lines"),
    [
        (["/data@phasse.x.data: tiny"], "", {"phasse": 2}),
        (["override /tuning@phases.zz.tuning: lora"], "", {"tuning@phases.zz.tuning": 2}),
        (["/hydra/launcher: basic"], "", {"hydra/launcher": 2}),
        (["override /hydra/launcher: nosuch"], "seed: 010\n", {"hydra/launcher": 2, "seed": 3}),
        (
            ["override /tuning: lroa", "override /mmodel: tiny"],
            "gates: [a]\nphases: [b]\ntraining: {epochs: x}\n",
            {"tuning": 2, "model": 3, "gates": 4, "phases": 5, "training.epochs": 6},
        ),
    ],
)
def test_all_problems_of_a_recipe_have_their_lines(team, rejected, entries, rest, lines):
    team("recipes/x.yaml", "defaults:\n" + "".join(f"- {entry}\n" for entry in entries) + rest)
    error = rejected("+recipe=[tiny,x]")
    keys = [problem.key for problem in error.problems]
    found = dict(zip(keys, (line.partition(": ")[0] for line in error.lines), strict=True))
    assert found == {key: f"recipes/x.yaml:{line}" for key, line in lines.items()}


@pytest.mark.parametrize("text", ["defaults: tiny\n", "defaults:\n", "defaults: {/model: tiny}\n"])
def test_defaults_that_are_no_list_are_named(team, rejected, text):
    team("recipes/x.yaml", f"{text}seed: 1\n")
    assert any(line.startswith("recipes/x.yaml:1: defaults: ") for line in rejected("+recipe=x").lines)


def test_recipes_that_extend_each_other_are_named(team, rejected):
    team("recipes/a.yaml", "defaults:\n- b\nname: a\n")
    team("recipes/b.yaml", "defaults:\n- a\nname: b\n")
    assert any(line.startswith("recipes/a.yaml:2: recipe: ") for line in rejected("+recipe=a").lines)


def test_entries_that_hydra_accepts_are_unchanged(team, config):
    team("conf/experiment/a.yaml", "# @package _global_\nseed: 5\n")
    team("recipes/deep/base.yaml", f"{TINY}name: base\n")
    team("recipes/deep/x.yaml", "defaults:\n- base\n- /experiment: a\n- _self_\n- override /tuning: lora\n")
    x = config("+recipe=deep/x")
    assert (x.name, x.seed, x.tuning.spec()["_target_"]) == ("base", 5, "framework.build.tuning.lora.LoRA")
