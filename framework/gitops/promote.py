"""``run promote``: copy a release's lock to the next environment, render it there, and propose one commit."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import ConfigError, GitError
from framework.core.git import Repository
from framework.core.release import Release, built_from
from framework.gitops.approvals import has_lock, require_source, sign_and_render
from framework.gitops.arguments import choice, name, parse_arguments, subfolder
from framework.gitops.commit import Change, Target, find_target, land
from framework.gitops.committed import SOURCE, committed, lost_commit, source_choice
from framework.gitops.history import rolled_back_in, versions
from framework.gitops.locks import bounds_of, lock_path, read_lock, short_digest
from framework.gitops.promotion_conditions import require_conditions, skip_reason
from framework.gitops.proposal import propose, trailers
from framework.gitops.remote_compose import ComposeResult
from framework.gitops.render_release import render_release, require_gates
from framework.render import write


def promote(words: Sequence[str]) -> None:
    """Promote a release from one environment to another, by pull request or with ``push=direct``.

    Raises:
        FrameworkError: no commit gives the release, it misses a gate or a condition of the
            environment, or Git is not ready.
    """
    optional = {"push": "branch", "base": "", "source": SOURCE, "environments": "environments"}
    optional |= {"skip": "", "key": ""}
    arguments = parse_arguments("promote", words, ("release", "from", "to"), optional)
    release, start, end = (name(key, arguments[key]) for key in ("release", "from", "to"))
    environments = subfolder("environments", arguments["environments"])
    takes_any = source_choice(arguments["source"])
    skip = skip_reason(arguments["skip"])
    direct = choice("push", arguments["push"], ("branch", "direct")) == "direct"
    if start == end:
        raise ConfigError(f"command line 'to={end}': same as 'from'; choose another environment")
    target = find_target(Path(), environments, arguments["base"] or None, direct)
    move = _Move(target, release, start, end, takes_any, skip, arguments["key"])
    propose(land(target, lambda tree: _write_promotion(tree, move)))


@dataclass(frozen=True)
class _Move:
    """What is promoted, and what the caller chose."""

    target: Target
    name: str
    start: str
    end: str
    takes_any: bool
    skip: str
    key: str

    @property
    def environments(self) -> str:
        return self.target.environments


def _write_promotion(tree: Repository, move: _Move) -> Change:
    """Write the promotion into *tree*.

    Raises:
        FrameworkError: there is nothing to promote, no commit gives the release, it is not signed, or it
            misses a gate or a condition.
    """
    folder, path = tree.folder, lock_path(move.environments, move.end, move.name)
    source = lock_path(move.environments, move.start, move.name)
    release = read_lock(folder, source, move.target.base)
    digest = short_digest(release.digest)
    mark = committed(release, source, move.takes_any).also(lost_commit(move.target, release))
    answer = render_release(folder, release, move.end, move.environments, start=move.start)
    mark = mark.also(require_source(tree, source, release, move.start, answer, move.takes_any))
    if has_lock(tree, path, release, move.end, answer):
        raise GitError(f"{path}: {move.end} has {digest} already; there is nothing to promote")
    require_gates(answer, release, move.end)
    conditions = require_conditions(tree, move.environments, release, move.start, move.end, answer, move.skip)
    release, answer = sign_and_render(tree, release, move.end, move.environments, answer, move.key)
    write(answer.files, folder / move.environments)
    warning = _rollback_warning(tree, path, release, move.end)
    if warning:
        print(f"warning: {warning}", file=sys.stderr, end="")
    subject = f"Promote {move.name} to {move.end}: {digest}{mark.subject}"
    body = f"{mark.body}From {move.start}. Built from recipe {release.recipe} at {built_from(release)}.\n"
    body += f"{_gate_lines(answer, release)}{warning}{conditions}"
    tail = trailers(move.name, move.end, release.digest, source=mark.source)
    return Change(f"{subject}\n\n{body}\n{tail}", f"promote/{move.name}-{move.end}-{digest}")


def _rollback_warning(tree: Repository, path: str, release: Release, environment: str) -> str:
    """Return a line if the release was rolled back from *environment*; a shallow clone cannot know."""
    if not (tree.folder / path).is_file() or tree.ask("rev-parse", "--is-shallow-repository") == "true":
        return ""
    commit = rolled_back_in(versions(tree, "HEAD", path), release.digest)
    digest = short_digest(release.digest)
    return f"{digest} was rolled back from {environment} in {commit[:12]}.\n" if commit else ""


def _gate_lines(answer: ComposeResult, release: Release) -> str:
    """Return one line for each gate of the environment; all of them are met."""
    return "".join(
        f"{metric} is {release.metrics[metric]:g}, the gate requires {bound}.\n"
        for metric, bound in sorted(bounds_of(answer.gates, release).items())
    )
