"""``pypi://name==version/member``: one file or folder from a wheel or sdist.

``pip download`` fetches it, so index, proxy, certificates and credentials are those of the user's pip.
Nothing is installed. A wheel is only unpacked. For an sdist, pip also runs the package's metadata hook, as
``pip download`` always does. This module knows nothing about caches and hashes.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from framework.core.errors import SourceError

_FORM = re.compile(r"pypi://([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==([\w.!+-]+)/(.+)")
_UNREACHABLE = re.compile(r"connection broken by '(.*)': /|WARNING: (The repository located at .*)")
_REASON = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
_VERSIONS = re.compile(r"\(from versions: (.+?)\)")
_Openers = Mapping[str, Callable[[], IO[bytes] | None]]


class _Address(NamedTuple):
    name: str
    version: str
    member: str


def problem(url: str) -> str | None:
    """Return what is wrong with the form of *url*, or None."""
    match = _FORM.fullmatch(url)
    if match is None:
        return f"'{url}' should have the form pypi://name==version/member; a folder ends in '/'"
    if _unsafe(match[3]):
        return f"the member '{match[3]}' should be a path inside the package"
    return None


def get(url: str, into: Path) -> Path:
    """Copy the member below *into*: from the wheel, or from the sdist if no wheel has it.

    Raises:
        SourceError: no network, no such version, no such member, or a damaged archive.
    """
    match = _FORM.fullmatch(url)
    assert match is not None, "checked by Source"
    address = _Address(*match.groups())
    seen: list[str] = []
    refusals = ""
    for kind in ("--only-binary=:all:", f"--no-binary={address.name}"):
        with tempfile.TemporaryDirectory(dir=into.parent, prefix="pip-") as folder:
            archive, refusal = _download(url, address, kind, Path(folder))
            refusals += refusal
            if archive is None:
                continue
            with _members(url, archive) as openers:
                seen += openers
                if path := _take(url, openers, address.member, into):
                    return path
    if not seen:
        raise SourceError(f"{url}: {_no_version(address, refusals)}")
    raise SourceError(f"{url}: the package has no member '{address.member}'; {_near(address.member, seen)}")


def _download(url: str, address: _Address, kind: str, folder: Path) -> tuple[Path | None, str]:
    """Return the archive, or None and pip's output if the version has no archive of this kind.

    Raises:
        SourceError: the index cannot be reached, or pip fails in another way.
    """
    pip = [sys.executable, "-P", "-m", "pip", "download", "-q", "--no-input", "--disable-pip-version-check"]
    options = ["--retries", "2", "--no-deps", kind, "--dest", str(folder)]
    requirement = f"{address.name}=={address.version}"
    done = subprocess.run(
        [*pip, *options, requirement], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return next(folder.iterdir()), ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1].removeprefix("ERROR: ").strip() if lines else f"exit code {done.returncode}"
    if unreachable := _UNREACHABLE.search(done.stderr):
        text = unreachable[1] or unreachable[2]
        errno = _REASON.search(text)
        reason = errno[1] if errno else re.sub(r"<[^>]*>[,:] ?", "", text)[:200]
        raise SourceError(
            f"{url}: the package index cannot be reached ({reason}); check the network, point pip at a "
            "mirror (PIP_INDEX_URL), or copy the file here and set its path as the source's url"
        )
    if "No module named pip" in done.stderr:
        raise SourceError(f"{url}: {sys.executable} has no pip; install it with `python -m ensurepip`")
    if "No matching distribution found" not in last:
        raise SourceError(f"{url}: pip could not download it: {last[:300]}")
    return None, done.stderr


def _no_version(address: _Address, refusals: str) -> str:
    known = [versions for versions in _VERSIONS.findall(refusals) if versions != "none"]
    if not known:
        wanted = f"{address.name}=={address.version}"
        return f"the package index has no '{address.name}' for this Python; try `pip download {wanted}`"
    newest = ", ".join(known[-1].split(", ")[-5:])
    return f"'{address.name}' has no version {address.version}; its newest are {newest}"


@contextmanager
def _members(url: str, archive: Path) -> Iterator[_Openers]:
    """Yield an opener for each regular file, by its path in the wheel or below the sdist's top folder.

    Raises:
        SourceError: the archive is damaged.
    """

    def inner(name: str) -> str:
        return name if archive.suffix == ".whl" else name.partition("/")[2]

    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                infos = [info for info in opened.infolist() if not info.is_dir()]
                yield {inner(info.filename): partial(opened.open, info) for info in infos}
        else:
            with tarfile.open(archive) as tar:
                files = [info for info in tar if info.isfile()]  # no links: they may point outside
                yield {inner(info.name): partial(tar.extractfile, info) for info in files}
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(f"{url}: {archive.name} is damaged ({error}); try again") from error


def _take(url: str, openers: _Openers, member: str, into: Path) -> Path | None:
    """Copy the member below *into* and return its path, or None if the archive lacks it.

    Raises:
        SourceError: a path in the archive is unsafe.
    """
    inside = member if member.endswith("/") else f"{member}/"
    names = [n for n in openers if n == member or (member.endswith("/") and n.startswith(inside))]
    if not names:
        return None
    result = into / PurePosixPath(member).name
    for name in names:
        if _unsafe(name):
            raise SourceError(f"{url}: the archive contains the unsafe path '{name}'; do not use it")
        target = result if name == member else result / name.removeprefix(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = openers[name]()
        assert stream is not None, "regular files only"
        with stream, target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    return result


def _unsafe(member: str) -> bool:
    path = PurePosixPath(member)
    return path.is_absolute() or ".." in path.parts or "\\" in member or not path.name


def _near(member: str, names: list[str]) -> str:
    """Return a hint with the members that *member* may have meant."""
    folders = {f"{parent.as_posix()}/" for name in names for parent in PurePosixPath(name).parents}
    known = sorted({*names, *folders} - {"./"})
    last = PurePosixPath(member).name
    same = [name for name in known if PurePosixPath(name).name == last]
    near = list(dict.fromkeys([*same, *get_close_matches(member, known, n=3, cutoff=0.5)]))[:3]
    if near:
        return "did you mean " + " or ".join(f"'{name}'" for name in near) + "?"
    return "it has " + ", ".join(f"'{name}'" for name in known[:3]) + (" and more" if known[3:] else "")
