"""``run rollback``: restore the last release that proved itself in a place, in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import ReleaseError
from framework.core.git import Repository
from framework.core.modelstore import is_lost
from framework.core.release import Release
from framework.gitops.arguments import choice, name, read, subfolder
from framework.gitops.commit import Change, land, place_of
from framework.gitops.history import Version, candidates, versions
from framework.gitops.locks import place, read_lock, short, unmet, words_of
from framework.gitops.proposal import propose, trailers
from framework.gitops.remote_compose import Answer, Question, ask
from framework.gitops.text_layout import sentence
from framework.render import write

_MOST = 20
"""How many earlier releases are looked at."""


@dataclass(frozen=True)
class _Restored:
    """What a rollback did, to be told once it has landed."""

    before: str
    release: Release
    answer: Answer
    differing: tuple[str, ...]
    """Files that are not what they were when the release ran last."""


def rollback(words: Sequence[str]) -> None:
    """Go back to the last release whose lock is sealed, meets the gates and was not put away as bad.

    Raises:
        FrameworkError: there is none, or Git is not ready.
    """
    optional = {"to": "", "push": "direct", "base": "", "environments": "environments"}
    given = read("rollback", words, ("release", "environment"), optional)
    release, environment = (name(key, given[key]) for key in ("release", "environment"))
    direct = choice("push", given["push"], ("branch", "direct")) == "direct"
    environments = subfolder("environments", given["environments"])
    where = place_of(Path(), environments, given["base"] or None, direct)
    path = place(environments, environment, release)
    done: list[_Restored] = []

    def change(tree: Repository) -> Change:
        done[:] = [_restore(tree, environments, path, environment, given["to"], where.base)]
        before, after = done[0].before, done[0].release.digest
        subject = f"Roll {release} back in {environment}: {short(before)} -> {short(after)}"
        tail = trailers(release, environment, after, before)
        return Change(f"{subject}\n\n{tail}", f"rollback/{release}-{environment}-{short(after)}")

    propose(land(where, change))
    print("\n".join(_consequences(done[0], direct)))


def _restore(
    tree: Repository, environments: str, path: str, environment: str, wanted: str, branch: str
) -> _Restored:
    """Write the earlier release into *tree*.

    Raises:
        ReleaseError: there is none that is fit.
    """
    if not (tree.folder / path).is_file():
        read_lock(tree.folder, path, branch)  # says which locks there are
    past = versions(tree, "HEAD", path)
    found = candidates(past, wanted)[:_MOST]
    if wanted and len(found) > 1:
        many = ", ".join(short(each.digest) for each in found)
        raise ReleaseError(f"{path}: to={wanted} may mean {many}; give more digits of one")
    questions = [
        Question(words_of(each.release, environment, environments), each.text)
        for each in found
        if each.release
    ]
    reasons = []
    for version, answer in zip(found, ask(tree.folder, questions) if questions else [], strict=True):
        assert version.release is not None
        if why := _unfit(version.release, answer):
            reasons.append(f"{short(version.digest)}: {why}")
            continue
        write(answer.files, tree.folder / environments)
        differing = _differing(tree, environments, version, answer)
        return _Restored(past[0].digest, version.release, answer, differing)
    raise ReleaseError(f"{path}: {_none_left(past, wanted, reasons)}")


def _unfit(release: Release, answer: Answer) -> str:
    """Say why the release cannot be gone back to; nothing where it can."""
    if answer.error:
        return answer.error
    if missed := unmet(answer.gates, release):
        return "; ".join(missed)
    store = Path(release.model_uri.removeprefix("file://")).parent
    if (
        "://" not in release.model_uri.removeprefix("file://")
        and store.is_dir()
        and is_lost(release.model_uri)
    ):
        return f"its model is no longer in {store}"
    return ""


def _none_left(past: Sequence[Version], wanted: str, reasons: Sequence[str]) -> str:
    if reasons:
        return f"no earlier release is fit: {'; '.join(reasons)}"
    known = dict.fromkeys(
        short(each.digest) for each in past if each.release and each.digest != past[0].digest
    )
    if wanted:
        there = ", ".join(known) or "none"
        return f"no earlier release has a digest that begins with {wanted}; there are {there}"
    if known:
        return (
            "every earlier release was rolled back from, or cannot be trusted; name one as to=<digest>: "
            f"{', '.join(known)}"
        )
    return "no earlier release is sealed in Git's history; there is nothing to go back to"


def _differing(tree: Repository, environments: str, version: Version, answer: Answer) -> tuple[str, ...]:
    """Return the files that are rendered otherwise than when *version* ran last."""
    folder = next(iter(answer.files)).rpartition("/")[0]
    listed = tree.run("ls-tree", "--name-only", "-z", version.ran_at, "--", f"{environments}/{folder}/")
    names = [each for each in listed.split("\0") if each]
    texts = tree.blobs(f"{version.ran_at}:{tree.prefix}{each}" for each in names)
    old = {each.removeprefix(f"{environments}/"): text for each, text in zip(names, texts, strict=True)}
    there = sorted({*old, *answer.files})
    return tuple(each for each in there if old.get(each) != answer.files.get(each))


def _consequences(done: _Restored, direct: bool) -> list[str]:
    """Say when it will have taken effect, and what is not as it was."""
    lines = [] if direct else ["  nothing changes before it is merged"]
    seconds = done.answer.way_back_seconds
    if seconds is None:
        lines.append("  this target is not synced by Argo CD; start the old release there yourself")
    else:
        seen = done.answer.config["environment"]["sync_seconds"]
        lines.append(
            sentence(
                f"a sync takes up to {seen + seconds} s: Argo CD looks at Git within {seen} s "
                f"(at once by a webhook), then the release answers within {seconds} s"
            )
        )
    if done.differing:
        lines.append("  the recipe or its options changed since; files not as they were then:")
        lines += [f"    {each}" for each in done.differing]
    return lines
