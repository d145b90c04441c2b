"""Configs that are composed without a command line: here, or by a process in another tree.

A tree of another branch has its own recipes and options and, where it is the framework's own repository,
its own code: what a release is there, only that tree can say. Plain JSON goes to its process and comes
back. It knows neither Git nor what the answer is for.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import framework
from framework.core.errors import ConfigError, FrameworkError, PlanError
from framework.core.release import Release

_MODULE = Path("framework", "gitops", "composed.py")


@dataclass(frozen=True)
class Question:
    """What is asked of one config."""

    words: tuple[str, ...]
    """What would be typed after ``run``."""
    lock: str | None = None
    """The text of a lock to render; None where there is no release."""
    planned: bool = False
    """Whether the plan's steps are wanted."""


@dataclass(frozen=True)
class Answer:
    """What a tree says of one config."""

    error: str = ""
    """Why there is no answer; the rest is empty then."""
    exit_code: int = 1
    fixable: bool = False
    """Whether an override fixes what the error reports."""
    config: Any = None
    """The resolved config as plain data."""
    steps: tuple[dict[str, Any], ...] = ()
    """Each step's label, key and identity, where it was asked."""
    files: Any = None
    """Rendered text by ``<environment>/<release>/<file>``, where there was a lock."""
    gates: Any = None
    """The environment's bounds: ``{"min": …, "max": …}`` by metric."""
    way_back_seconds: int | None = None
    """Longest time from a changed manifest in the cluster until the release answers."""

    def checked(self) -> "Answer":
        """Return this answer.

        Raises:
            FrameworkError: there is none.
        """
        if self.error:
            failure = FrameworkError(self.error)
            failure.exit_code = self.exit_code
            raise failure
        return self


def ask(tree: Path, questions: Sequence[Question]) -> list[Answer]:
    """Return what *tree* says, by a process whose working folder it is.

    Args:
        tree: a folder as ``run`` is called in; its own framework answers where it holds one that can.
        questions: of which configs.

    Raises:
        FrameworkError: the process fails.
    """
    own = Path(framework.__file__).resolve().parents[1]
    code = tree if (tree / _MODULE).is_file() else own
    given = json.dumps([asdict(each) for each in questions])
    paths = [str(code), str(own), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    absolute = [path for path in paths if Path(path).is_absolute()]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "framework.gitops.remote_compose"],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(absolute)),
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is left in the tree
        },
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FrameworkError(f"rendering in the work tree failed: {last}")
    return [Answer(**{**each, "steps": tuple(each["steps"])}) for each in json.loads(done.stdout)]


def answer(question: Question) -> Answer:
    """Compose, validate and render what is asked for, in this process and its working folder."""
    try:
        return _answer(question)
    except ConfigError as error:
        text = error.lines[0] if len(error.lines) == 1 else str(error)
        return Answer(error=text, exit_code=error.exit_code, fixable=_fixable(error))
    except PlanError as error:
        return Answer(error=str(error), exit_code=error.exit_code, fixable=_fixable(error))
    except FrameworkError as error:
        return Answer(error=str(error), exit_code=error.exit_code)


def _fixable(error: ConfigError | PlanError) -> bool:
    return any(problem.overrides for problem in error.problems)


def _answer(question: Question) -> Answer:
    from framework.plan.build import make_plan

    call = _called(question.words)
    config = call.config
    steps: list[dict[str, Any]] = []
    if question.planned:
        plan = make_plan(config, call.recipe)
        steps = [{"label": each.label, "key": each.key, "identity": each.identity()} for each in plan.steps]
    return Answer(
        config=config.dump(),
        steps=tuple(steps),
        files=None if question.lock is None else call.render(Release.parse(question.lock, "release.lock")),
        gates={name: {"min": b.min, "max": b.max} for name, b in config.environment.gates.items()},
        way_back_seconds=config.deployment.rollback_seconds(config.delivery),
    )


def _called(words: Sequence[str]) -> Any:
    """Return the call of what would be typed as *words* after ``run``.

    Raises:
        ConfigError: it does not make a valid config.
    """
    from framework.config.compose_config import composed
    from framework.run.runner import called

    return called(composed(words), " ".join(["run", *words]))


def main() -> None:
    """Answer the questions on standard input; nothing else is written to standard output."""
    questions = [Question(tuple(each.pop("words")), **each) for each in json.load(sys.stdin)]
    with contextlib.redirect_stdout(sys.stderr):
        answers = [asdict(answer(each)) for each in questions]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
