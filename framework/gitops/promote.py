"""``run promote``: copy a release's lock forward, render it there, and propose that as one commit."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from framework.core.errors import ConfigError, GateError, GitError
from framework.core.gates import Bound
from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.arguments import choice, name, read, subfolder
from framework.gitops.commit import Change, land, place_of
from framework.gitops.history import put_away_by, versions
from framework.gitops.locks import place, read_lock, short, source, unmet, words_of
from framework.gitops.proposal import propose, trailers
from framework.gitops.remote_compose import Answer, Question, ask
from framework.render import write


def promote(words: Sequence[str]) -> None:
    """Bring a release from one environment to the next, by a pull request or by ``push=direct``.

    Raises:
        FrameworkError: the release is not fit for the environment, or Git is not ready.
    """
    optional = {"push": "branch", "base": "", "environments": "environments"}
    given = read("promote", words, ("release", "from", "to"), optional)
    release, start, end = (name(key, given[key]) for key in ("release", "from", "to"))
    environments = subfolder("environments", given["environments"])
    direct = choice("push", given["push"], ("branch", "direct")) == "direct"
    if start == end:
        raise ConfigError(f"command line 'to={end}': the release is there already; name another environment")
    where = place_of(Path(), environments, given["base"] or None, direct)

    def change(tree: Repository) -> Change:
        return _promoted(tree, environments, release, start, end, where.base)

    propose(land(where, change))


def _promoted(tree: Repository, environments: str, release: str, start: str, end: str, branch: str) -> Change:
    """Write the promotion into *tree*.

    Raises:
        FrameworkError: there is nothing to promote, or it is not fit.
    """
    folder = tree.folder
    found = read_lock(folder, place(environments, start, release), branch)
    there = folder / place(environments, end, release)
    if there.is_file() and there.read_text(encoding="utf-8", errors="replace") == found.text():
        raise GitError(
            f"{place(environments, end, release)}: {end} has {short(found.digest)} already; there is "
            "nothing to promote"
        )
    answer = rendered(folder, found, end, environments)
    require_gates(answer, found, end)
    write(answer.files, folder / environments)
    subject = f"Promote {release} to {end}: {short(found.digest)}"
    proof = _proof(answer, found)
    again = _again(tree, place(environments, end, release), found, end)
    if again:
        print(f"warning: {again}", file=sys.stderr, end="")
    body = f"From {start}. Built from recipe {found.recipe} at {source(found)}.\n{proof}{again}"
    tail = trailers(release, end, found.digest)
    return Change(f"{subject}\n\n{body}\n{tail}", f"promote/{release}-{end}-{short(found.digest)}")


def _again(tree: Repository, path: str, found: Release, end: str) -> str:
    """Say that the release was put away as bad before; a shallow clone does not know."""
    if not (tree.folder / path).is_file() or tree.ask("rev-parse", "--is-shallow-repository") == "true":
        return ""
    commit = put_away_by(versions(tree, "HEAD", path), found.digest)
    return f"{short(found.digest)} was rolled back from {end} in {commit[:12]}.\n" if commit else ""


def rendered(folder: Path, release: Release, environment: str, environments: str) -> Answer:
    """Return what the tree in *folder* renders of *release* in *environment*.

    Raises:
        FrameworkError: it cannot, and where in the tree what mends that belongs.
    """
    answer = ask(folder, [Question(words_of(release, environment, environments), release.text())])[0]
    if answer.fixable:
        where = f"conf/environment/{environment}.yaml"
        if release.recipe != "(none)":
            where = f"recipes/{release.recipe}.yaml or {where}"
        answer = replace(answer, error=f"{answer.error}; write that into {where} and commit it")
    return answer.checked()


def require_gates(answer: Answer, release: Release, environment: str) -> None:
    """Refuse a release whose recorded metrics miss a bound of *environment*.

    Raises:
        GateError: naming each.
    """
    if missed := unmet(answer.gates, release):
        raise GateError(
            f"{release.name}: it does not pass the gates of {environment}: {'; '.join(missed)}; train a "
            f"better one, or loosen environment.gates in conf/environment/{environment}.yaml"
        )


def _proof(answer: Answer, release: Release) -> str:
    """Return a line for each gate that was met."""
    lines = []
    for metric, sides in sorted(answer.gates.items()):
        flat = metric if "." in metric else f"tuned.{metric}"
        lines.append(
            f"{flat} is {release.metrics[flat]:g}, the gate asks for {Bound.model_validate(sides)}.\n"
        )
    return "".join(lines)
