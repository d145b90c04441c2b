"""Licenses that forbid what a release does stop the plan until a word accepts them."""

import pytest

from framework.config.options import options
from framework.config.read_recipe import listed
from framework.core.licenses import forbidden

TINY = "+recipe=tiny"
RECIPES = [name for name in options("recipe") if not listed(name)]


@pytest.mark.parametrize(
    "name",
    [
        *("CC-BY-NC-4.0", "cc-by-nc-sa-3.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0", "cc-by-nc", "apple-amlr"),
        *(
            "FAIR Noncommercial Research License",
            "PolyForm-Noncommercial-1.0.0",
            "qwen-research",
            "research only",
        ),
    ],
)
@pytest.mark.parametrize("key", ["model.license", "data.license"])
def test_license_that_forbids_a_use_stops_the_plan(key, name, fixes):
    (problem,) = fixes(TINY, f"{key}={name}")
    assert problem.key == key
    assert problem.overrides[0].startswith("publish.accept_licenses=[")


@pytest.mark.parametrize(
    "name",
    [
        *("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "llama3.1", "gemma", "openrail"),
        *("public domain", "GPL-3.0-only", "ODC-By-1.0", "acme license", "unknown"),
    ],
)
def test_other_licenses_do_not(name, problems):
    assert forbidden(name) is None
    assert problems(TINY, f"model.license={name}", f"data.license={name}") == ()


def test_each_license_is_accepted_by_its_name(fixes, problems):
    words = (TINY, "model.license=CC-BY-NC-4.0", "data.license=apple-amlr")
    assert {problem.key for problem in fixes(*words)} == {"model.license", "data.license"}
    (left,) = problems(*words, "publish.accept_licenses=[cc-by-nc-4.0]")
    assert left.overrides == ("publish.accept_licenses=[cc-by-nc-4.0,apple-amlr]",)
    assert problems(*words, *left.overrides) == ()


def test_teacher_and_parts_of_phases_count(problems):
    words = ("+recipe=finance-three-phase", "phases.task.data.parts.figures.data.license=CC-BY-NC-4.0")
    assert [problem.key for problem in problems(*words)] == ["phases.task.data.parts.figures.data.license"]


def test_accepting_changes_no_step(plan):
    keys = [
        [step.key for step in plan(TINY, *words).steps]
        for words in ((), ("publish.accept_licenses=[x]", "data.license=CC-BY-4.0"))
    ]
    assert keys[0] == keys[1]


def cautioned(plan, *words):
    return [problem.key for problem in plan(*words).warnings if problem.key.endswith(".license")]


def test_unknown_license_from_elsewhere_is_a_warning(plan):
    words = ("+recipe=finance-three-phase", "model.license=unknown")
    assert cautioned(plan, *words) == ["model.license"]
    remote = "phases.general.data.parts.speeches.data.license=null"
    assert cautioned(plan, "+recipe=finance-three-phase", remote) == [remote.partition("=")[0]]
    assert cautioned(plan, TINY, "data.license=null") == []  # files of one's own


@pytest.mark.parametrize("recipe", RECIPES)
def test_bundled_recipes_need_no_word(recipe, plan):
    assert cautioned(plan, f"+recipe={recipe}") == []
