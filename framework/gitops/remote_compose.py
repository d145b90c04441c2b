"""Compose and render configs without a command line: in this process, or in another checkout's process.

A checkout of another branch has its own recipes and options. If it is the framework's own repository, it
also has its own code. Only a process in that checkout can therefore render a release as that branch would.
Requests and results are JSON on standard input and output. This module knows nothing about Git.
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
from framework.core.errors import FrameworkError, ReleaseError
from framework.core.release import NO_RECIPE, Release

_MODULE = Path("framework", "gitops", "remote_compose.py")


@dataclass(frozen=True)
class ComposeRequest:
    """One config to compose, and what to return of it."""

    arguments: tuple[str, ...]
    """The arguments of ``run``."""
    lock: str | None = None
    """The text of a lock to render; None if there is no release."""
    with_plan: bool = False
    """Whether to return the plan's steps."""
    start: str = ""
    """The environment that a promoted release comes from."""


@dataclass(frozen=True)
class ComposeResult:
    """A composed config as plain data, or why it could not be composed."""

    error: str = ""
    """The error message; if set, all other fields but ``exit_code`` are empty."""
    exit_code: int = 1
    fixable: bool = False
    """Whether an override fixes what the error reports."""
    config: Any = None
    """The resolved config."""
    steps: tuple[dict[str, Any], ...] = ()
    """Each step's label, key and identity, if requested."""
    files: Any = None
    """Rendered text by ``<environment>/<release>/<file>``, if there was a lock."""
    gates: Any = None
    """The environment's bounds of the lock's release, ``{"min": …, "max": …}`` by flat metric name, if there
    was a lock: a recipe can only tighten those of the environment's option."""
    promotion: Any = None
    """The conditions of the environment's option, whatever the recipe sets; the config has the recipe's."""
    signers: Any = None
    """Whose signature the environment's option asks for, whatever the recipe sets."""
    start_signers: Any = None
    """Whose signature the option of the request's ``start`` asks for."""
    before: Sequence[str] = ()
    """The environments that a release passes before this one, the nearest first."""
    rollback_seconds: int | None = None
    """Most seconds from a changed manifest in the cluster until the release serves."""

    def checked(self) -> "ComposeResult":
        """Return this result.

        Raises:
            FrameworkError: it is an error.
        """
        if self.error:
            failure = FrameworkError(self.error)
            failure.exit_code = self.exit_code
            raise failure
        return self


def compose_in(tree: Path, requests: Sequence[ComposeRequest]) -> list[ComposeResult]:
    """Compose *requests* in the checkout *tree*, in a process whose working folder it is.

    Args:
        tree: the folder in which ``run`` would be called; if it contains the framework, that code is used.
        requests: the configs.

    Raises:
        FrameworkError: the process fails.
    """
    own = Path(framework.__file__).resolve().parents[1]
    code = tree if (tree / _MODULE).is_file() else own
    paths = [str(code), str(own), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    absolute = [path for path in paths if Path(path).is_absolute()]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "framework.gitops.remote_compose"],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(absolute)),
            "PYTHONDONTWRITEBYTECODE": "1",  # leave no files in the tree
        },
        input=json.dumps([asdict(request) for request in requests]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FrameworkError(f"rendering in the worktree failed: {last}")
    return [ComposeResult(**{**body, "steps": tuple(body["steps"])}) for body in json.loads(done.stdout)]


def compose_here(request: ComposeRequest) -> ComposeResult:
    """Compose, validate and render *request* in this process and its working folder."""
    try:
        return _compose(request)
    except FrameworkError as error:
        lines: tuple[str, ...] = getattr(error, "lines", ())
        text = lines[0] if len(lines) == 1 else str(error)
        fixable = any(problem.overrides for problem in error.problems)
        return ComposeResult(error=text, exit_code=error.exit_code, fixable=fixable)


def _compose(request: ComposeRequest) -> ComposeResult:
    from framework.plan.build import make_plan
    from framework.run.environment_option import environment_option, merged_bounds

    release = None if request.lock is None else Release.parse(request.lock, "release.lock")
    if release:
        _require_recipe(release)
    call = _call(request.arguments)
    config = call.config
    own = environment_option(call.composition.choices.get("environment"))
    bounds = merged_bounds(release, config.environment.gates, own) if release else {}
    gates = {name: {"min": bound.min, "max": bound.max} for name, bound in bounds.items()}
    steps: list[dict[str, Any]] = []
    if request.with_plan:
        plan = make_plan(config, call.recipe)
        steps = [{"label": step.label, "key": step.key, "identity": step.identity()} for step in plan.steps]
    return ComposeResult(
        config=config.dump(),
        steps=tuple(steps),
        files=call.render(release) if release else None,
        gates=gates if release else None,
        promotion=own.get("promotion") or {},
        signers=own.get("signers") or {},
        start_signers=environment_option(request.start).get("signers") or {},
        before=_before(config.environment.name, own),
        rollback_seconds=config.deployment.rollback_seconds(config.delivery),
    )


def _require_recipe(release: Release) -> None:
    """Refuse a *release* whose recipe is not in this checkout: the command line did not choose it.

    Raises:
        ReleaseError: names the recipe's file.
    """
    from framework.config.options import GROUP, option_file

    if release.recipe != NO_RECIPE and option_file(GROUP, release.recipe) is None:
        raise ReleaseError(
            f"recipes/{release.recipe}.yaml: not on the branch that {release.name} is rendered on, and its "
            "lock names this recipe; merge the recipe into that branch first"
        )


def _before(environment: str, option: dict[str, Any]) -> list[str]:
    """Return the environments before *environment*, whose *option* names the first, without a circle."""
    from framework.config.options import option_file
    from framework.run.environment_option import environment_option

    names: list[str] = []
    while after := (option.get("promotion") or {}).get("after"):
        if after in (environment, *names) or option_file("environment", after) is None:
            break
        names.append(after)
        option = environment_option(after)
    return names


def _call(arguments: Sequence[str]) -> Any:
    """Return the call that ``run`` with *arguments* makes.

    Raises:
        ConfigError: the config is invalid.
    """
    from framework.config.compose_config import composed
    from framework.run.call import called

    return called(composed(arguments), " ".join(["run", *arguments]))


def main() -> None:
    """Read requests from standard input and write results, and nothing else, to standard output."""
    bodies = json.load(sys.stdin)
    requests = [ComposeRequest(tuple(body.pop("arguments")), **body) for body in bodies]
    with contextlib.redirect_stdout(sys.stderr):
        results = [asdict(compose_here(request)) for request in requests]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
