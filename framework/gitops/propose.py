"""``run propose``: bring the locks that a run left in this folder to their environment, by pull requests.

Only the lock crosses: what lies around it is rendered anew on the branch that it follows, as for a
promotion. It does not know how the release was built.
"""

from collections.abc import Sequence
from pathlib import Path

from framework.core.errors import FrameworkError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release
from framework.gitops import proposal
from framework.gitops.arguments import choice, read, subfolder
from framework.gitops.commit import Change, Place, land, place_of
from framework.gitops.locks import read_lock, short, source
from framework.gitops.promote import rendered, require_gates
from framework.render import write

_ROOM = 60_000
"""Characters of a report that a pull request holds beside what else it says."""


def propose(words: Sequence[str]) -> None:
    """Propose each lock that differs from the last commit, one after the other.

    One that cannot be proposed, since it was already or is not fit, keeps no other back.

    Raises:
        FrameworkError: a release is not fit for its environment, or Git is not ready; a line for each.
    """
    optional = {"push": "branch", "base": "", "environments": "environments", "reports": ".gitune/reports"}
    given = read("propose", words, (), optional)
    environments = subfolder("environments", given["environments"])
    direct = choice("push", given["push"], ("branch", "direct")) == "direct"
    folders = _changed(Repository.around(Path()), environments)
    if not folders:
        print(f"Nothing to propose: every lock below {environments}/ is committed.")
        if Repository.around(Path()).run("status", "--porcelain", "--untracked-files=all", environments):
            print("Other files there changed with the recipe or its options: commit them together.")
    failed: list[FrameworkError] = []
    for folder in folders:
        try:
            where = place_of(Path(), environments, given["base"] or None, direct, apart=folders)
            _propose(where, folder, Path(given["reports"]))
        except FrameworkError as error:
            if error.exit_code > 128:  # a signal
                raise
            failed.append(error)
    if failed:
        failure = FrameworkError("\n".join(dict.fromkeys(map(str, failed))))
        failure.exit_code = failed[0].exit_code
        raise failure


def _propose(where: Place, folder: str, reports: Path) -> None:
    """Propose the lock in *folder*.

    Raises:
        FrameworkError: it is not fit, or Git refuses.
    """
    environment, name = folder.split("/")[-2:]
    found = read_lock(Path(), f"{folder}/{LOCK}", "this folder")

    def change(tree: Repository) -> Change:
        return _proposed(tree.folder, where.environments, folder, environment, found)

    proposal.propose(land(where, change), _report(reports / f"{name}.md"))
    if folder in _changed(Repository.around(Path()), where.environments):
        print("  its files still lie here, in no commit; make room before you pull:")
        print(f"    git stash push -u {folder}")


def _changed(repository: Repository, environments: str) -> list[str]:
    """Return the folders of the locks that no commit holds as they are, relative to the working folder."""
    root = Path(environments)
    listed = repository.run("ls-files", "--modified", "--others", "-z", "--", environments)
    names = {Path(each) for each in listed.split("\0") if each}
    return sorted(
        each.parent.as_posix()
        for each in names
        if each.name == LOCK and len(each.relative_to(root).parts) == 3 and each.is_file()
    )


def _proposed(folder: Path, environments: str, place: str, environment: str, release: Release) -> Change:
    """Write the release into *folder*.

    Raises:
        FrameworkError: it is not fit for the environment.
    """
    answer = rendered(folder, release, environment, environments)
    require_gates(answer, release, environment)
    if f"{environments}/{next(iter(answer.files)).rpartition('/')[0]}" != place:
        raise ReleaseError(f"{place}: environment={environment} renders elsewhere; name it like its folder")
    write(answer.files, folder / environments)
    passed = "".join(f"- {name} {bound}\n" for name, bound in sorted(release.gates.items())) or "- none\n"
    subject = f"Release {release.name} to {environment}: {short(release.digest)}"
    body = f"Built from recipe {release.recipe} at {source(release)}. Gates that it passed:\n\n{passed}"
    tail = proposal.trailers(release.name, environment, release.digest)
    branch = f"train/{release.name}-{environment}-{short(release.digest)}"
    return Change(f"{subject}\n\n{body}\n{tail}", branch)


def _report(file: Path) -> str:
    """Return what ``run report`` wrote on the release, as far as there is room; nothing without one."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text if len(text) <= _ROOM else f"{text[:_ROOM]}\n\n… the rest is in {file}.\n"
