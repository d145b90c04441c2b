"""Running Git: its output, and its failures as one-line errors."""

import subprocess
from pathlib import Path

import pytest

from framework.core.errors import GitError
from framework.core.git import Repository, error_line
from framework.core.uncommitted import uncommitted


@pytest.fixture
def repository(tmp_path):
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "lines.txt").write_bytes(b"one\r\ntwo\n")
    (tmp_path / "deep" / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_bytes(b"")
    for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "first")):
        subprocess.run(["git", *settings, *words], cwd=tmp_path, check=True, capture_output=True)
    return Repository.around(tmp_path)


def test_blobs_are_read_verbatim_and_missing_ones_are_none(repository):
    names = ["HEAD:deep/lines.txt", "HEAD:nothing", "HEAD:deep/bytes", "HEAD:empty", "HEAD:deep", "x:y"]
    assert repository.blobs(names) == ["one\r\ntwo\n", None, "\ufffd\ufffd", "", None, None]
    assert repository.blobs([]) == []


def test_prefix_is_the_path_below_the_root(repository):
    assert repository.prefix == ""
    assert Repository.around(repository.folder / "deep").prefix == "deep/"


def test_git_failures_are_one_line_errors(repository, tmp_path, monkeypatch):
    with pytest.raises(GitError, match="git switch: fatal: invalid reference: nowhere"):
        repository.run("switch", "nowhere")
    assert repository.ask("rev-parse", "--verify", "--quiet", "nowhere") is None
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path.parent / f"{tmp_path.name}-plain").mkdir()
    with pytest.raises(GitError, match="not a Git repository"):
        Repository.around(tmp_path.parent / f"{tmp_path.name}-plain")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitError, match="git: command not found"):
        Repository.around(Path(tmp_path))


SIGNER = """#!/bin/sh
cat > /dev/null
case "$*" in
*--verify*) echo 'gpg: Good signature' >&2 ;;
*) echo '[GNUPG:] SIG_CREATED ' >&2
   printf '%s\\n' '-----BEGIN PGP SIGNATURE-----' x '-----END PGP SIGNATURE-----' ;;
esac
"""
SETTINGS = """
[user]
name = a
email = a@example.org
[log]
showSignature = true
showRoot = false
[status]
renames = true
[color]
ui = always
remote = always
push = always
transport = always
advice = always
[trailer]
separators = "="
"""


def test_output_is_the_same_with_any_user_configuration(tmp_path, monkeypatch):
    signer, settings, folder = tmp_path / "signer", tmp_path / "settings", tmp_path / "tëam"
    signer.write_text(SIGNER)
    signer.chmod(0o755)
    settings.write_text(f"{SETTINGS}[gpg]\nprogram = {signer}\n[commit]\ngpgsign = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder.mkdir()
    (folder / "ä.txt").write_text("a")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first\n\nKey: value")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    plain = subprocess.run(["git", "log", "--format=%s"], cwd=tmp_path, capture_output=True, text=True)
    assert "Good signature" in plain.stdout + plain.stderr  # the settings have an effect
    repository = Repository.around(folder)
    shown = "--format=%s %(trailers:key=Key,valueonly,separator=%x20)"
    assert repository.run("log", shown).splitlines() == ["first value"]
    changed = [line.partition("\t")[2] for line in repository.run("log", "--raw", "--format=").splitlines()]
    assert "tëam/ä.txt" in changed
    (folder / "ä.txt").rename(folder / "b.txt")
    repository.run("add", "--all")
    assert repository.run("status", "--porcelain", "-z") == "A  tëam/b.txt\0D  tëam/ä.txt\0"
    refused = repository.attempt("push", str(tmp_path), f":{repository.points_to('HEAD', '')}")
    assert "\x1b" not in refused.stderr
    assert error_line(refused.stderr).startswith("remote: error: ")


def test_branch_is_named_though_a_tag_has_its_name(repository):
    repository.run("tag", "main")
    repository.run("update-ref", "refs/remotes/a/b/main", "HEAD")
    repository.run("symbolic-ref", "refs/remotes/a/b/HEAD", "refs/remotes/a/b/main")
    assert repository.branch == "main"
    assert repository.points_to("refs/remotes/a/b/HEAD", "refs/remotes/a/b/") == "main"
    repository.run("checkout", "--quiet", "--detach")
    assert repository.branch is None


def test_error_line_is_the_one_with_the_error():
    assert error_line("hint: do this\nfatal: no such ref\n") == "fatal: no such ref"
    assert error_line("\nonly this\n") == "only this"
    assert error_line("") == ""


def test_uncommitted_finds_what_a_commit_lacks(repository, tmp_path_factory):
    """Changed, untracked, ignored and linked files count, of code only those that Git does not ignore."""
    folder, outside = repository.folder, tmp_path_factory.mktemp("outside") / "rows"
    (folder / "code").mkdir()
    (folder / "code" / "module.py").write_text("a = 1")
    (folder / ".gitignore").write_text("*.bin\n")
    (folder / "same.yaml").write_text("a: 1")
    (folder / "changed.yaml").write_text("a: 1")
    outside.write_text("rows")
    (folder / "link").symlink_to(outside)
    for words in (("add", "."), ("commit", "-q", "-m", "files")):
        repository.run("-c", "user.name=a", "-c", "user.email=a@example.org", *words)
    files = [folder / name for name in ("same.yaml", "changed.yaml", "new *.yaml", "rows.bin", "link")]
    code = [folder / "code"]
    assert uncommitted(repository, files[:1], code) == []
    (folder / "changed.yaml").write_text("a: 2")
    (folder / "new *.yaml").write_text("a: 1")
    (folder / "rows.bin").write_text("rows")
    (folder / "code" / "cache.bin").write_text("cache")
    (folder / "unrelated").write_text("x")
    found = ["changed.yaml", "new *.yaml", "rows.bin", str(outside)]
    assert uncommitted(repository, files, code) == found
    (folder / "code" / "other.py").write_text("b = 1")
    assert uncommitted(Repository(folder / "code"), [], code) == ["code/other.py"]
