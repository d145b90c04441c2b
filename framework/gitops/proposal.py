"""Announce a landed commit: trailers in its message, a pull request, and lines on the terminal."""

import re
import shutil
import subprocess

from framework.gitops.commit import LandedCommit
from framework.gitops.commit_log import DIGEST, ENVIRONMENT, RELEASE, RENDERED_AT, ROLLED_BACK, SOURCE
from framework.gitops.followed import SSH_URL


def trailers(
    release: str,
    environment: str,
    digest: str,
    rolled_back: str = "",
    source: str = "",
    rendered_at: str = "",
) -> str:
    """Return the trailers of a commit message, which ``rollback``, ``status`` and ``log`` read.

    Args:
        release: the release's name.
        environment: where it is released.
        digest: the model's digest.
        rolled_back: the digest that ran before, if this restores an earlier one.
        source: ``any`` if no commit alone gives the release.
        rendered_at: the commit whose manifests are restored; empty if they are rendered anew.
    """
    values = {
        RELEASE: release,
        ENVIRONMENT: environment,
        DIGEST: digest,
        ROLLED_BACK: rolled_back,
        SOURCE: source,
        RENDERED_AT: rendered_at,
    }
    return "".join(f"{key}: {value}\n" for key, value in values.items() if value)


def propose(landed: LandedCommit, report: str = "", stash: str = "") -> None:
    """Print where the commit is; unless it landed directly, open a pull request that includes *report*.

    Args:
        landed: the commit.
        report: what the pull request says besides the message.
        stash: the command without which a pull stops at files of this folder; empty if none is needed.
    """
    target, commit = landed.target, landed.commit[:12]
    subject = landed.message.partition("\n")[0]
    print(subject)
    base = f"{target.remote}/{target.base}" if target.remote else target.base
    checked_out = target.repository.branch
    if checked_out != target.base:
        print(f"  {checked_out or 'a detached HEAD'} is checked out here; it stays as it is")
    if target.direct:
        print(f"  commit {commit} on {base}")
    else:
        print(f"  commit {commit} on branch {landed.branch}, from {base}")
        if target.remote is not None:
            print(f"  {_pull_request(landed, report)}")
    if stash:
        print(f"  its files are still uncommitted here; stash them first:\n    {stash}")
    if target.direct and not landed.updated:
        print(f"  your local {target.base} is behind: git pull {target.remote} {target.base}")
    elif not target.direct and target.remote is None:
        print(f"  no remote to push to; merge it with: git merge {landed.branch}")


def _pull_request(landed: LandedCommit, report: str) -> str:
    """Open a pull request with ``gh`` and return its address, or else how to open one by hand."""
    target = landed.target
    subject, _, body = landed.message.partition("\n\n")
    if not shutil.which("gh"):
        return _by_hand(landed)
    options = ["--base", target.base, "--head", landed.branch, "--title", subject, "--body-file", "-"]
    done = subprocess.run(
        ["gh", "pr", "create", *options],
        cwd=target.repository.folder,
        input=f"{body}\n{report}" if report else body,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return f"pull request {done.stdout.strip()}"
    why = (done.stderr.strip().splitlines() or ["it failed"])[0]
    return f"gh opened no pull request ({why}); {_by_hand(landed)}"


def _by_hand(landed: LandedCommit) -> str:
    target = landed.target
    url = target.repository.ask("remote", "get-url", str(target.remote)) or ""
    if ssh := SSH_URL.fullmatch(url):
        url = f"https://{ssh[1]}/{ssh[2]}"
    if not url.startswith(("https://", "http://")):
        return f"open a pull request from {landed.branch} to {target.base}"
    address = re.sub(r"//[^@/]*@", "//", url.removesuffix("/").removesuffix(".git"))
    return f"open a pull request: {address}/compare/{target.base}...{landed.branch}?expand=1"
