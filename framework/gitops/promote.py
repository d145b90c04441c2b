"""``run promote``: copy a release's lock to the next environment, render it there, and propose one commit."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from framework.core.errors import ConfigError, GateError, GitError
from framework.core.git import Repository
from framework.core.release import NO_RECIPE, Release, built_from
from framework.gitops.arguments import choice, name, parse_arguments, subfolder
from framework.gitops.commit import Change, Target, find_target, land
from framework.gitops.committed import SOURCE, committed, lacks_commit, source_choice
from framework.gitops.history import rolled_back_in, versions
from framework.gitops.locks import (
    bounds_of,
    lock_path,
    missed_gates,
    read_lock,
    render_arguments,
    short_digest,
)
from framework.gitops.promotion_conditions import require_conditions, skip_reason
from framework.gitops.proposal import propose, trailers
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_in
from framework.render import write


def promote(words: Sequence[str]) -> None:
    """Promote a release from one environment to another, by pull request or with ``push=direct``.

    Raises:
        FrameworkError: no commit gives the release, it misses a gate or a condition of the
            environment, or Git is not ready.
    """
    optional = {"push": "branch", "base": "", "source": SOURCE, "environments": "environments"}
    optional |= {"skip": ""}
    arguments = parse_arguments("promote", words, ("release", "from", "to"), optional)
    release, start, end = (name(key, arguments[key]) for key in ("release", "from", "to"))
    environments = subfolder("environments", arguments["environments"])
    takes_any = source_choice(arguments["source"])
    skip = skip_reason(arguments["skip"])
    direct = choice("push", arguments["push"], ("branch", "direct")) == "direct"
    if start == end:
        raise ConfigError(f"command line 'to={end}': same as 'from'; choose another environment")
    target = find_target(Path(), environments, arguments["base"] or None, direct)

    def change(tree: Repository) -> Change:
        return _write_promotion(tree, target, release, start, end, takes_any, skip)

    propose(land(target, change))


def _write_promotion(
    tree: Repository,
    target: Target,
    name: str,
    start: str,
    end: str,
    takes_any: bool,
    skip: str,
) -> Change:
    """Write the promotion of release *name* into *tree*.

    Raises:
        FrameworkError: there is nothing to promote, no commit of the remote gives the release, or it misses a
            gate or a condition.
    """
    environments = target.environments
    folder, path = tree.folder, lock_path(environments, end, name)
    source = lock_path(environments, start, name)
    release = read_lock(folder, source, target.base)
    digest = short_digest(release.digest)
    present = folder / path
    if present.is_file() and present.read_text(encoding="utf-8", errors="replace") == release.text():
        raise GitError(f"{path}: {end} has {digest} already; there is nothing to promote")
    mark = committed(release, source, takes_any, lacks_commit(target, release))
    answer = render_release(folder, release, end, environments)
    require_gates(answer, release, end)
    conditions = require_conditions(tree, environments, release, start, end, answer, skip)
    write(answer.files, folder / environments)
    warning = _rollback_warning(tree, path, release, end)
    if warning:
        print(f"warning: {warning}", file=sys.stderr, end="")
    subject = f"Promote {name} to {end}: {digest}{mark.subject}"
    body = f"{mark.body}From {start}. Built from recipe {release.recipe} at {built_from(release)}.\n"
    body += f"{_gate_lines(answer, release)}{warning}{conditions}"
    tail = trailers(name, end, release.digest, source=mark.source)
    return Change(f"{subject}\n\n{body}\n{tail}", f"promote/{name}-{end}-{digest}")


def _rollback_warning(tree: Repository, path: str, release: Release, environment: str) -> str:
    """Return a line if the release was rolled back from *environment*; a shallow clone cannot know."""
    if not (tree.folder / path).is_file() or tree.ask("rev-parse", "--is-shallow-repository") == "true":
        return ""
    commit = rolled_back_in(versions(tree, "HEAD", path), release.digest)
    digest = short_digest(release.digest)
    return f"{digest} was rolled back from {environment} in {commit[:12]}.\n" if commit else ""


def render_release(folder: Path, release: Release, environment: str, environments: str) -> ComposeResult:
    """Render *release* for *environment* with the tree in *folder*.

    Raises:
        FrameworkError: rendering fails; if an override fixes that, the message names the file it belongs in.
    """
    arguments = render_arguments(release, environment, environments)
    answer = compose_in(folder, [ComposeRequest(arguments, release.text())])[0]
    if answer.fixable:
        where = f"conf/environment/{environment}.yaml"
        if release.recipe != NO_RECIPE:
            where = f"recipes/{release.recipe}.yaml or {where}"
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


def _gate_lines(answer: ComposeResult, release: Release) -> str:
    """Return one line for each gate of the environment; all of them are met."""
    return "".join(
        f"{metric} is {release.metrics[metric]:g}, the gate requires {bound}.\n"
        for metric, bound in sorted(bounds_of(answer.gates, release).items())
    )
