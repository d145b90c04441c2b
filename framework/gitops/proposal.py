"""What is said of a commit that landed: in its own message, in a pull request, and on the terminal."""

import re
import shutil
import subprocess

from framework.gitops.commit import Landed

_TRAILER = "Gitune-"
_SSH = re.compile(r"(?:ssh://)?[^@/]+@([^:/]+)(?::\d+/|[:/])(.+)")


def trailers(release: str, environment: str, digest: str, rolled_back: str = "") -> str:
    """Return the lines at the end of a message by which ``run rollback`` reads the history."""
    lines = [
        f"{_TRAILER}Release: {release}",
        f"{_TRAILER}Environment: {environment}",
        f"{_TRAILER}Digest: {digest}",
        *([f"{_TRAILER}Rolled-Back: {rolled_back}"] if rolled_back else []),
    ]
    return "\n".join(lines) + "\n"


def propose(landed: Landed, report: str = "") -> None:
    """Say where the commit is, and open a pull request where it waits for one, with *report* in it."""
    place, commit = landed.place, landed.commit[:12]
    subject = landed.message.partition("\n")[0]
    print(subject)
    where = f"{place.remote}/{place.base}" if place.remote else place.base
    if place.direct:
        print(f"  commit {commit} on {where}")
        if not landed.updated:
            print(f"  your own {place.base} is not at it yet: git pull {place.remote} {place.base}")
        return
    print(f"  commit {commit} on branch {landed.branch}, from {where}")
    if place.remote is None:
        print(f"  no remote to push to; merge it with: git merge {landed.branch}")
        return
    print(f"  {_pull_request(landed, report)}")


def _pull_request(landed: Landed, report: str) -> str:
    """Open a pull request with ``gh`` and return its address, or else how to open one by hand."""
    place = landed.place
    subject, _, body = landed.message.partition("\n\n")
    if shutil.which("gh"):
        words = ["pr", "create", "--base", place.base, "--head", landed.branch, "--title", subject]
        folder = place.repository.folder
        done = subprocess.run(
            ["gh", *words, "--body-file", "-"],
            cwd=folder,
            input=f"{body}\n{report}" if report else body,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return f"pull request {done.stdout.strip()}"
        why = (done.stderr.strip().splitlines() or ["it failed"])[0]
        return f"gh opened no pull request ({why}); {_by_hand(landed)}"
    return _by_hand(landed)


def _by_hand(landed: Landed) -> str:
    place = landed.place
    url = place.repository.ask("remote", "get-url", str(place.remote)) or ""
    if found := _SSH.fullmatch(url):
        url = f"https://{found[1]}/{found[2]}"
    if not url.startswith(("https://", "http://")):
        return f"open a pull request from {landed.branch} to {place.base}"
    address = re.sub(r"//[^@/]*@", "//", url.removesuffix("/").removesuffix(".git"))
    return f"open a pull request: {address}/compare/{place.base}...{landed.branch}?expand=1"
