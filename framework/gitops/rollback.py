"""``run rollback``: restore an environment's last good release in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from framework.core.approval import check_approval
from framework.core.errors import ReleaseError
from framework.core.git import Repository
from framework.core.modelstore import is_lost
from framework.core.release import LOCK, Release
from framework.core.signers import Signers
from framework.gitops.approvals import sign_and_render
from framework.gitops.arguments import choice, name, parse_arguments, require_no_link, subfolder
from framework.gitops.commit import Change, Target, find_target, land
from framework.gitops.earlier_manifests import Earlier, Files, files_then, generated_at
from framework.gitops.history import Version, candidates, versions
from framework.gitops.locks import lock_path, missed_gates, read_lock, render_arguments, short_digest
from framework.gitops.proposal import propose, trailers
from framework.gitops.remote_compose import ComposeRequest, ComposeResult, compose_in
from framework.gitops.text_layout import sentence
from framework.render import write

_MOST = 20
"""How many earlier releases are tried."""


@dataclass(frozen=True)
class _Restored:
    """The outcome of a rollback, reported once it has landed."""

    before: str
    release: Release
    answer: ComposeResult
    manifests: str
    """Which manifests it has: those of then, or of today's recipe, and why."""
    rendered_at: str
    """The commit whose manifests are restored; empty if they are rendered anew."""
    differing: tuple[str, ...]
    """Files that today's recipe renders otherwise than the release last ran with."""


@dataclass(frozen=True)
class _Asked:
    """What a rollback is asked for."""

    environments: str
    path: str
    """The lock's."""
    environment: str
    to: str
    """The first digits of the digest to restore; empty for the last that can be."""
    key: str
    render: str
    """``then`` or ``now``; empty for the manifests of then if they can be restored."""


def rollback(words: Sequence[str]) -> None:
    """Restore the last release whose lock is sealed, that meets the gates, and that was not rolled back.

    Raises:
        FrameworkError: there is no such release, or Git is not ready.
    """
    optional = {"to": "", "push": "direct", "base": "", "environments": "environments", "key": ""}
    optional |= {"render": ""}
    arguments = parse_arguments("rollback", words, ("release", "environment"), optional)
    release, environment = (name(key, arguments[key]) for key in ("release", "environment"))
    direct = choice("push", arguments["push"], ("branch", "direct")) == "direct"
    wanted = arguments["render"] and choice("render", arguments["render"], ("then", "now"))
    environments = subfolder("environments", arguments["environments"])
    target = find_target(Path(), environments, arguments["base"] or None, direct)
    path = lock_path(environments, environment, release)
    asked = _Asked(environments, path, environment, arguments["to"], arguments["key"], wanted)
    done: list[_Restored] = []

    def change(tree: Repository) -> Change:
        done[:] = [_restore(tree, asked, target.base)]
        before, after = done[0].before, done[0].release.digest
        subject = f"Roll {release} back in {environment}: {short_digest(before)} -> {short_digest(after)}"
        tail = trailers(release, environment, after, before, rendered_at=done[0].rendered_at)
        return Change(
            f"{subject}\n\n{done[0].manifests}.\n\n{tail}",
            f"rollback/{release}-{environment}-{short_digest(after)}",
        )

    propose(land(target, change))
    print("\n".join(_consequences(done[0], target)))


def _restore(tree: Repository, asked: _Asked, branch: str) -> _Restored:
    """Write the earlier release into *tree*, which is at the head of *branch*.

    Raises:
        ReleaseError: no earlier release can be restored.
        ConfigError: the path leads through a link.
    """
    environments, path, environment = asked.environments, asked.path, asked.environment
    require_no_link(tree.folder, PurePosixPath(path))
    if not (tree.folder / path).is_file():
        read_lock(tree.folder, path, branch)  # raises, and lists the locks that exist
    past = versions(tree, "HEAD", path)
    restorable = candidates(past, asked.to)[:_MOST]
    if asked.to and len(restorable) > 1:
        many = ", ".join(short_digest(version.digest) for version in restorable)
        raise ReleaseError(f"{path}: to={asked.to} matches {many}; give more digits")
    requests = [
        ComposeRequest(render_arguments(version.release, environment, environments), version.text)
        for version in restorable
        if version.release
    ]
    answers = compose_in(tree.folder, requests) if requests else []
    reasons = []
    for version, answer in zip(restorable, answers, strict=True):
        assert version.release is not None
        if reason := _unfit(version.release, environment, answer):
            reasons.append(f"{short_digest(version.digest)}: {reason}")
            continue
        release, answer = sign_and_render(tree, version.release, environment, environments, answer, asked.key)
        earlier = files_then(tree, environments, version, release, answer.files)
        if earlier.reason and asked.render == "then":
            raise ReleaseError(f"{path}: render=then is not possible: {earlier.reason}; use render=now")
        differing = _differing(tree, environments, earlier, answer)
        then = not earlier.reason and asked.render != "now"
        write(earlier.files if then else answer.files, tree.folder / environments)
        manifests = _manifests(earlier, then, differing)
        return _Restored(
            past[0].digest, release, answer, manifests, earlier.commit if then else "", differing
        )
    raise ReleaseError(f"{path}: {_none_left(past, asked.to, reasons)}")


def _unfit(release: Release, environment: str, answer: ComposeResult) -> str:
    """Return why the release cannot be restored; empty if it can."""
    if answer.error:
        return answer.error
    if signers := Signers.model_validate(answer.signers or {}):
        try:
            check_approval(release, environment, signers)
        except ReleaseError as error:
            return str(error)
    if missed := missed_gates(answer.gates, release):
        return "; ".join(missed)
    path = release.model_uri.removeprefix("file://")
    if "://" not in path and Path(path).parent.is_dir() and is_lost(release.model_uri):
        return f"its model is no longer in {Path(path).parent}"
    return ""


def _none_left(past: Sequence[Version], wanted: str, reasons: Sequence[str]) -> str:
    if reasons:
        return f"no earlier release can be restored: {'; '.join(reasons)}"
    known = dict.fromkeys(
        short_digest(version.digest)
        for version in past
        if version.release and version.digest != past[0].digest
    )
    if wanted:
        digests = ", ".join(known) or "none"
        return f"no earlier release has a digest that begins with {wanted}; there are {digests}"
    if known:
        return (
            "every earlier release was rolled back or has a broken lock; choose one with to=<digest>: "
            f"{', '.join(known)}"
        )
    return "Git's history has no earlier sealed release to restore"


def _manifests(earlier: Earlier, then: bool, differing: Sequence[str]) -> str:
    """Return in words which manifests are restored."""
    commit = earlier.commit[:12]
    if not differing and not earlier.reason:
        return f"Manifests as they ran at {commit}, which today's recipe renders too"
    if then:
        return f"Manifests as they ran at {commit}; today's recipe would render {_count(differing)} otherwise"
    why = f": those of {commit} cannot be restored, {earlier.reason}" if earlier.reason else " (render=now)"
    return f"Manifests rendered by today's recipe{why}"


def _count(files: Sequence[str]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"


def _differing(
    tree: Repository, environments: str, earlier: Earlier, answer: ComposeResult
) -> tuple[str, ...]:
    """Return the files that today's recipe renders otherwise than they were at the *earlier* commit."""
    fresh: Files = answer.files
    folder = next(path for path in fresh if path.endswith(f"/{LOCK}")).rpartition("/")[0]
    then = earlier.files or generated_at(tree, earlier.commit, environments, folder)
    own = {
        path for path in {*then, *fresh} if path.startswith(f"{folder}/") and not path.endswith(f"/{LOCK}")
    }
    return tuple(path for path in sorted(own) if then.get(path) != fresh.get(path))


def _consequences(done: _Restored, target: Target) -> list[str]:
    """Return lines on when the rollback takes effect, and on files that differ from before."""
    lines = [] if target.direct else ["  nothing changes until it is merged"]
    seconds = done.answer.rollback_seconds
    if target.followed not in (None, target.base):
        lines.append(f"  Argo CD follows {target.followed}: no cluster changes until it has this commit")
    elif seconds is None:
        lines.append("  Argo CD does not sync this target; restart the old release there yourself")
    else:
        seen = done.answer.config["environment"]["sync_seconds"]
        if _is_new_version(done):
            return [*lines, *_all_steps(done, seen), *_which_manifests(done)]
        by = "; these are the times of today's recipe" if done.rendered_at and done.differing else ""
        lines.append(
            sentence(
                f"the rollback takes up to {seen + seconds} s: Argo CD polls Git within {seen} s "
                f"(at once with a webhook), then the release serves within {seconds} s; pulling images and "
                f"starting nodes come on top{by}"
            )
        )
    return [*lines, *_which_manifests(done)]


def _is_new_version(done: _Restored) -> bool:
    """Return whether Argo Rollouts has no pods' template like the one that was restored.

    A new signature is a part of the template, and so is what today's recipe renders otherwise.
    """
    rollouts = {path for path in done.answer.files if PurePosixPath(path).name.startswith("rollout-")}
    rendered = not done.rendered_at and not rollouts.isdisjoint(done.differing)
    return bool(rollouts) and (done.release.approval is not None or rendered)


def _all_steps(done: _Restored, seen: int) -> list[str]:
    why = "its signature is new" if done.release.approval is not None else "its manifests are rendered anew"
    namespace = done.answer.config["environment"]["namespace"]
    return [
        sentence(
            f"Argo CD polls Git within {seen} s (at once with a webhook); then Argo Rollouts takes "
            f"every step and analysis as for a new release, because {why}; to skip them, run once it begins:"
        ),
        f"    kubectl argo rollouts promote {done.release.name} -n {namespace} --full",
    ]


def _which_manifests(done: _Restored) -> list[str]:
    return [sentence(done.manifests), *(f"    {file}" for file in done.differing)]
