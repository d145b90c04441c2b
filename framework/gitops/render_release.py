"""Render one release on a branch's own recipes and options, and check it against the environment's gates."""

from dataclasses import replace
from pathlib import Path

from framework.core.errors import GateError
from framework.core.release import NO_RECIPE, Release
from framework.gitops.locks import missed_gates, render_arguments
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_in


def render_release(
    folder: Path, release: Release, environment: str, environments: str, start: str = ""
) -> ComposeResult:
    """Render *release* for *environment* with the tree in *folder*.

    Args:
        folder: a checkout.
        release: the release.
        environment: the environment's name.
        environments: the folder of rendered manifests.
        start: the environment that the release comes from, whose signers are then returned too.

    Raises:
        FrameworkError: rendering fails; if an override fixes that, the message names the file it belongs in.
    """
    arguments = render_arguments(release, environment, environments)
    answer = compose_in(folder, [ComposeRequest(arguments, release.text(), start=start)])[0]
    if answer.fixable:
        where = f"conf/environment/{environment}.yaml"
        if release.recipe != NO_RECIPE:
            where = f"recipes/{release.recipe}.yaml, or keys of environment into {where}"
        answer = replace(answer, error=f"{answer.error}; write that into {where} and commit it")
    return answer.checked()


def require_gates(answer: ComposeResult, release: Release, environment: str) -> None:
    """Refuse a release whose recorded metrics miss a bound of *environment*.

    Raises:
        GateError: names each missed bound.
    """
    if missed := missed_gates(answer.gates, release):
        raise GateError(
            f"{release.name}: it does not pass the gates of {environment}: {'; '.join(missed)}; train a "
            f"better model, or loosen environment.gates in conf/environment/{environment}.yaml"
        )
