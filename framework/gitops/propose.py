"""``run propose``: bring the locks that a run left in this folder to their environments, by pull request.

Only the lock is carried over: the other files are rendered again on the base branch, as in a promotion.
It does not know how the release was built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import FrameworkError, GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release, built_from
from framework.gitops import proposal
from framework.gitops.approvals import has_lock, sign_and_render
from framework.gitops.arguments import choice, name, parse_arguments, subfolder
from framework.gitops.commit import Change, Target, find_target, land
from framework.gitops.committed import SOURCE, Mark, committed, lacks_commit, source_choice
from framework.gitops.locks import lock_path, read_lock, short_digest
from framework.gitops.promotion_conditions import require_conditions, skip_reason
from framework.gitops.render_release import render_release, require_gates
from framework.manifests.identity import SHARED
from framework.render import write

_REPORT_LIMIT = 60_000
"""Most characters of a report in a pull request, which also holds the commit message."""


def propose(words: Sequence[str]) -> None:
    """Propose each lock that differs from the last commit, one after another.

    A lock that cannot be proposed does not hold the others back. ``release=`` proposes one release alone, and
    its committed locks too, where their environments have come to ask for a signature.

    Raises:
        FrameworkError: no commit gives a release, it misses a gate of its environment, or Git is not ready;
            one line each.
    """
    optional = {"push": "branch", "base": "", "source": SOURCE, "environments": "environments"}
    optional |= {"reports": ".gitune/reports", "skip": "", "key": "", "release": "", "environment": ""}
    arguments = parse_arguments("propose", words, (), optional)
    environments = subfolder("environments", arguments["environments"])
    takes_any = source_choice(arguments["source"])
    skip = skip_reason(arguments["skip"])
    direct = choice("push", arguments["push"], ("branch", "direct")) == "direct"
    chosen = [(arguments[key] and name(key, arguments[key])) or "*" for key in ("environment", "release")]
    folders = _changed_releases(Repository.around(Path()), environments)
    if arguments["release"]:
        folders = sorted(
            lock.parent.as_posix() for lock in Path(environments).glob(f"{'/'.join(chosen)}/{LOCK}")
        )
    folders = [folder for folder in folders if Path(folder).match("/".join(chosen))]
    if not folders and arguments["release"]:
        raise ReleaseError(f"{environments}/{'/'.join(chosen)}/{LOCK}: no such lock in this folder")
    if not folders:
        print(f"Nothing to propose: every lock below {environments}/ is committed.")
        if Repository.around(Path()).run("status", "--porcelain", "--untracked-files=all", environments):
            print("Other files there changed with the recipe or its options: commit them together.")
    failed: list[FrameworkError] = []
    excluded = [*folders, *sorted({_shared_folder(folder) for folder in folders})]
    for folder in folders:
        try:
            target = find_target(Path(), environments, arguments["base"] or None, direct, excluded=excluded)
            _propose(target, folder, Path(arguments["reports"]), takes_any, skip, arguments["key"])
        except FrameworkError as error:
            if error.exit_code > 128:  # a signal
                raise
            failed.append(error)
    if failed:
        failure = FrameworkError("\n".join(dict.fromkeys(map(str, failed))))
        failure.exit_code = failed[0].exit_code
        raise failure


def _propose(target: Target, folder: str, reports: Path, takes_any: bool, skip: str, key: str) -> None:
    """Propose the lock in *folder*.

    Raises:
        FrameworkError: no commit of the remote gives the release, it misses a gate, or Git refuses.
    """
    environment, title = folder.split("/")[-2:]
    release = read_lock(Path(), f"{folder}/{LOCK}", "this folder")
    mark = committed(release, f"{folder}/{LOCK}", takes_any, lacks_commit(target, release))

    def change(tree: Repository) -> Change:
        return _write_release(tree, target.environments, _Asked(environment, release, mark, skip, key))

    landed = land(target, change)
    proposal.propose(landed, _report(reports / f"{title}.md"), _stash(folder, target.environments))


def _stash(folder: str, environments: str) -> str:
    """Return the command that stashes the release in *folder*; empty if its lock is committed by now."""
    repository = Repository.around(Path())
    if folder not in _changed_releases(repository, environments):
        return ""
    shared = _shared_folder(folder)
    changed = repository.ask("status", "--porcelain", "--untracked-files=all", "--", shared)
    return f"git stash push -u {folder}{f' {shared}' if changed else ''}"


def _shared_folder(folder: str) -> str:
    """Return the folder of the objects that the release in *folder* shares with others."""
    return f"{folder.rpartition('/')[0]}/{SHARED}"


def _changed_releases(repository: Repository, environments: str) -> list[str]:
    """Return the folders of the locks with uncommitted changes, relative to the working folder."""
    root = Path(environments)
    listed = repository.run("ls-files", "--modified", "--others", "-z", "--", environments)
    files = {Path(file) for file in listed.split("\0") if file}
    return sorted(
        file.parent.as_posix()
        for file in files
        if file.name == LOCK and len(file.relative_to(root).parts) == 3 and file.is_file()
    )


@dataclass(frozen=True)
class _Asked:
    """What is proposed."""

    environment: str
    release: Release
    mark: Mark
    skip: str
    key: str


def _write_release(tree: Repository, environments: str, asked: _Asked) -> Change:
    """Write the release into *tree*.

    Raises:
        FrameworkError: it misses a gate or a condition of the environment.
    """
    environment, release, mark = asked.environment, asked.release, asked.mark
    answer = render_release(tree.folder, release, environment, environments)
    path = lock_path(environments, environment, release.name)
    if has_lock(tree, path, release, environment, answer):
        raise GitError(
            f"{path}: {environment} has {short_digest(release.digest)} already; nothing to propose"
        )
    require_gates(answer, release, environment)
    conditions = require_conditions(tree, environments, release, None, environment, answer, asked.skip)
    release, answer = sign_and_render(tree, release, environment, environments, answer, asked.key)
    write(answer.files, tree.folder / environments)
    passed = "".join(f"- {name} {bound}\n" for name, bound in sorted(release.gates.items())) or "- none\n"
    digest = short_digest(release.digest)
    subject = f"Release {release.name} to {environment}: {digest}{mark.subject}"
    body = (
        f"{mark.body}Built from recipe {release.recipe} at {built_from(release)}. Gates that it passed:\n\n"
    )
    body += passed + (f"\n{conditions}" if conditions else "")
    tail = proposal.trailers(release.name, environment, release.digest, source=mark.source)
    return Change(f"{subject}\n\n{body}\n{tail}", f"train/{release.name}-{environment}-{digest}")


def _report(file: Path) -> str:
    """Return the release's report, shortened to fit; empty if there is none."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text if len(text) <= _REPORT_LIMIT else f"{text[:_REPORT_LIMIT]}\n\n… the rest is in {file}.\n"
