"""Configs composed as plain data are those that Hydra composes."""

import random

import pytest

from framework.config.compose_config import composed, composed_by_hydra
from framework.config.composer import compose_plain
from framework.config.composition_errors import NOT_COMPOSED, as_addition
from framework.config.merge_order import NotPlainError
from framework.config.options import options
from framework.config.read_recipe import listed
from framework.config.schema import GROUPS, SEVERAL
from framework.core.errors import ConfigError

RECIPES = [name for name in options("recipe") if not listed(name)]
VALUES = (
    *("8", "-1", "0", "1e-3", "2.50", ".5", "1_000", "nan", "inf", "true", "No", "null", "???", "text", ""),
    *("a-b/c.d", "'quoted, text'", '"two words"', "10:20", "s3://bucket/key", "[1,two,3.0]", "[]", "{}"),
    *("{max_steps:5}", "{a:{b:1,c:[x]}}", "[{a:1}]", "2026-11-30", "$", "%", "a=b", "'???'", "'null'"),
)
"""What is typed after the equals sign."""
UNUSUAL = (
    *("~tuning", "~gates", "~tuning.rank", "tuning.rank=${seed}", "name=${oc.env:HOME}", "name=${nothing}"),
    *("training.epochs=1,2", "training.epochs=range(3)", "plugins.0=a", "plugins[0]=a", "gates.a.b.c=1"),
    *("tuning=[lora,full]", "tuning=nothing", "hydra.job.name=x", "hydra/launcher=basic", "=1", "a b=1"),
    *("tuning={rank:4}", "plugins={a:1}", "gates=[1]", "phases.a.data=tiny", "+tuning=lora", "++tuning=lora"),
    *("+data@phases.a.data=tiny", "+data@a=tiny", "model@base=tiny", "seed.deep.key=1", "recipe=tiny"),
    *("compression=[]", "compression=[bf16]", "data=[tiny]", "model.source=null", "model.source.url=x"),
)


def described(composition):
    """Return all of *composition* to compare; NaN is not equal to itself, and the order of keys counts."""
    files = [(package, file.path) for package, file in composition.files]
    return repr(composition.config), composition.words, composition.choices, files


def agree(words):
    """Compose *words* both ways, and tell whether plain data sufficed; it must never differ from Hydra."""
    try:
        plain = compose_plain([*map(as_addition, words)])
    except (NotPlainError, *NOT_COMPOSED):
        return False  # Hydra composes it, or says what is wrong
    assert described(plain) == described(composed_by_hydra(words)), words
    return True


def keys(config, prefix=""):
    """Yield each key with the words that may follow it; Hydra merges no list into a mapping."""
    for key, value in config.items():
        other = {dict: "[", list: "{"}.get(type(value), " ")
        yield f"{prefix}{key}", [word for word in VALUES if not word.startswith(other)]
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def random_words(rng, recipe):
    """Return a recipe with some twenty random overrides: choices, values of keys and new keys."""
    words = {}
    for group in rng.sample(GROUPS, 3):
        names = options(group)
        words[group] = rng.choice(names)
        if group in SEVERAL and rng.random() < 0.5:
            words[group] = f"[{','.join(rng.sample(names, 2))}]"
    known = [*keys(composed([f"+recipe={recipe}"]).config)]
    for key, values in rng.sample(known, 18):
        if key not in GROUPS:
            words[key] = rng.choice(values)
    words[f"{rng.choice(known)[0]}.new.key"] = rng.choice(VALUES)
    return [f"+recipe={recipe}", *(f"{key}={value}" for key, value in words.items())]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_composed_as_by_hydra(recipe):
    assert agree([f"+recipe={recipe}"])


@pytest.mark.parametrize(
    ("words", "scaling", "monitoring", "export"),
    [
        ((), "keda", "prometheus", "transformers"),
        (("autoscaling=fixed",), "fixed", "prometheus", "transformers"),
        (("autoscaling=fixed", "monitoring=none", "export=onnx"), "fixed", "none", "onnx"),
        (("deployment=kubernetes",), "hpa", "none", "onnx-genai"),
        (("deployment=ours",), "keda", "prometheus", "transformers"),
        (("+recipe=fixed", "deployment=ours"), "fixed", "prometheus", "transformers"),
    ],
)
def test_deployment_changes_defaults_but_no_explicit_choice(team, words, scaling, monitoring, export):
    """In both composers, through an option of a team that extends vllm, and against a recipe's choice."""
    team("conf/deployment/ours.yaml", "defaults: [vllm, _self_]\ngpus: 2\n")
    team("recipes/fixed.yaml", "defaults:\n- override /autoscaling: fixed\nname: fixed\n")
    words = words if "deployment" in " ".join(words) else ("deployment=vllm", *words)
    assert agree([*words])
    choices = composed([*words]).choices
    assert (choices["autoscaling"], choices["monitoring"], choices["export"]) == (scaling, monitoring, export)


def test_random_overrides_are_composed_as_by_hydra():
    rng = random.Random(0)
    composed_plain = 0
    while composed_plain < 300:
        words = random_words(rng, rng.choice(RECIPES))
        if agree(words):
            composed_plain += len(words) - 1
        else:
            with pytest.raises(ConfigError):
                composed_by_hydra(words)


@pytest.mark.parametrize("word", UNUSUAL)
def test_unusual_word_is_never_composed_in_another_way(word):
    agree(["+recipe=tiny", word])
