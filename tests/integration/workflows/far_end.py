"""Fake `gh` and `pip`: record each call in one file and answer as GitHub does.

`gh` and `pip` on the test's PATH call it. An invalid request gets an error, as from GitHub.
"""

import fcntl
import json
import os
import re
import sys
from pathlib import Path
from typing import Any


def option(words: list[str], name: str) -> str | None:
    """Return the value after *name*."""
    return words[words.index(name) + 1] if name in words else None


def text_of(words: list[str]) -> str:
    """Return the text of ``--body-file``."""
    file = option(words, "--body-file")
    return sys.stdin.read() if file == "-" else Path(str(file)).read_text()


def api(words: list[str], state: dict[str, Any]) -> str:
    """Answer ``gh api``."""
    method = option(words, "--method") or "GET"
    path = next(word for word in words if word.startswith("repos/"))
    fields = dict(word.split("=", 1) for word in words if "=@" in word)
    body = {key: Path(value[1:]).read_text() for key, value in fields.items()}
    comments = state.setdefault("comments", [])
    if method == "GET" and re.fullmatch(r"repos/[\w-]+/[\w-]+/issues/\d+/comments", path):
        return json.dumps(comments)
    if method == "POST" and re.fullmatch(r"repos/[\w-]+/[\w-]+/issues/\d+/comments", path):
        comments.append({"id": 100 + len(comments), "user": {"login": "github-actions[bot]"}, **body})
        return json.dumps(comments[-1])
    if method == "PATCH" and (match := re.fullmatch(r"repos/[\w-]+/[\w-]+/issues/comments/(\d+)", path)):
        comment = next(comment for comment in comments if comment["id"] == int(match[1]))
        comment.update(body)
        return json.dumps(comment)
    sys.exit(f"gh: Not Found (HTTP 404): {method} {path}")


def pr(words: list[str], state: dict[str, Any]) -> str:
    """Answer ``gh pr create``."""
    pulls = state.setdefault("pulls", [])
    keys = {key: option(words, f"--{key}") for key in ("base", "head", "title")}
    if words[0] != "create" or None in keys.values():
        sys.exit(f"gh pr: not understood: {words}")
    pulls.append({**keys, "number": len(pulls) + 1, "body": text_of(words)})
    return f"https://example.com/pull/{len(pulls)}"


def issue(words: list[str], state: dict[str, Any]) -> str:
    """Answer ``gh issue``."""
    issues = state.setdefault("issues", [])
    if words[0] == "list":
        return json.dumps([{"number": issue["number"]} for issue in issues if issue["state"] == "open"])
    if words[0] == "create":
        if option(words, "--label") not in state.get("labels", []):
            sys.exit("could not add label: not found")
        number = len(issues) + 1
        issues.append(
            {
                "number": number,
                "state": "open",
                "title": option(words, "--title"),
                "body": text_of(words),
            }
        )
        return f"https://example.com/issues/{number}"
    selected = next(issue for issue in issues if issue["number"] == int(words[1]))
    if words[0] == "edit":
        selected["body"] = text_of(words)
    elif words[0] == "close":
        selected["state"] = "closed"
    return ""


def label(words: list[str], state: dict[str, Any]) -> str:
    """Answer ``gh label create``."""
    state.setdefault("labels", []).append(words[1])
    return ""


def main() -> None:
    """Answer one call."""
    folder = Path(os.environ["GITUNE_FAR_END"])
    program, *words = sys.argv[1:]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / "state.json"
        state = json.loads(file.read_text()) if file.is_file() else {}
        call = {"words": words, "token": os.environ.get("GH_TOKEN", "")}
        state.setdefault(program, []).append(call)
        answers = {"api": api, "pr": pr, "issue": issue, "label": label}
        if program == "gh":
            if not call["token"]:
                sys.exit("gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN variable.")
            if words[0] in answers and (answer := answers[words[0]](words[1:], state)):
                print(answer)
        file.write_text(json.dumps(state, indent=1))


if __name__ == "__main__":
    main()
