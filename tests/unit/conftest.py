"""Fixtures that compose, validate and plan configs in this process, as the command line does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from framework.config.compose_config import composed
from framework.config.composition import Composition
from framework.config.load import load
from framework.config.schema import Config
from framework.core.errors import PlanError
from framework.core.problem import Problem
from framework.plan.build import Plan, make_plan


@pytest.fixture
def compose() -> Callable[..., Composition]:
    """Compose a config from the words after ``run``, in the working folder."""
    return lambda *words: composed(words)


@pytest.fixture
def config(compose: Callable[..., Composition]) -> Callable[..., Config]:
    """Compose and validate."""
    return lambda *words: load(compose(*words))


@pytest.fixture
def plan(config: Callable[..., Config]) -> Callable[..., Plan]:
    """Compose, validate and plan."""
    return lambda *words: make_plan(config(*words), "test")


@pytest.fixture
def problems(config: Callable[..., Config]) -> Callable[..., tuple[Problem, ...]]:
    """Compose, validate and plan; return the problems, none for a valid plan."""

    def call(*words: str) -> tuple[Problem, ...]:
        try:
            make_plan(config(*words), "test")
        except PlanError as error:
            return error.problems
        return ()

    return call


_PLACEHOLDERS = {"<digest>": "a" * 64, "<domain>": "example.com", "<name>": "vault", "<number>": "1"}


def _key(word: str) -> str:
    return word.lstrip("+").partition("=")[0]


@pytest.fixture
def fixes(problems: Callable[..., tuple[Problem, ...]]) -> Callable[..., tuple[Problem, ...]]:
    """Plan again with each override that a problem suggests, and return the problems.

    An override must fix its problem without causing another.
    """

    def typed(word: str) -> str:
        for placeholder, value in _PLACEHOLDERS.items():
            word = word.replace(placeholder, value)
        return f"+{word}" if "@" in word.partition("=")[0] else word

    def call(*words: str) -> tuple[Problem, ...]:
        original = problems(*words)
        assert original, "the plan has no problems"
        for problem in original:
            for override in problem.overrides:
                changes = [typed(word) for word in override.split()]
                changed = {_key(change) for change in changes}
                remaining = problems(*(word for word in words if _key(word) not in changed), *changes)
                assert set(remaining) <= {*original} - {problem}, f"{override}: {[*map(str, remaining)]}"
        return original

    return call


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """A team's working folder: ``team("recipes/x.yaml", text)`` writes a file to it."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write
