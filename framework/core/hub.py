"""``hf://org/name@revision/member``: a model or data set repository of the Hugging Face Hub.

huggingface_hub finds the token (``HF_TOKEN`` or its login); ``HF_ENDPOINT`` selects another hub. A broken
download resumes. This module knows nothing about caches and hashes.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from framework.core.error_text import first_line
from framework.core.errors import SourceError

_FORM = re.compile(r"hf://(datasets/)?([\w.-]+)/([\w.-]+)(?:@([^/@]+))?(?:/(.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# Weights in other frameworks' formats, and pickles, which Gitune never opens.
_LEFT_OUT = [
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf"),
    *("*.mlmodel", "*.mlpackage/*", "coreml/*", "onnx/*", "*.onnx", "*.onnx_data", "openvino/*"),
    *("original/*", "consolidated*.safetensors"),
]


class Address(NamedTuple):
    """A parsed ``hf://`` URL."""

    kind: str
    repository: str
    revision: str
    member: str | None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parse a URL that ``problem`` accepts."""
        match = _FORM.fullmatch(url)
        assert match is not None, "checked by Source"
        kind = "dataset" if match[1] else "model"
        return cls(kind, f"{match[2]}/{match[3]}", unquote(match[4] or "main"), match[5])

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit hash, whose bytes cannot change."""
        return _COMMIT.fullmatch(self.revision) is not None


def problem(url: str) -> str | None:
    """Return what is wrong with the form of *url*, or None."""
    match = _FORM.fullmatch(url)
    if match is None or (match[2] == "datasets" and not match[1]):
        return f"'{url}' should have the form hf://org/name@revision, or hf://org/name@revision/member"
    if match[5] and ".." in match[5].split("/"):
        return f"the member '{match[5]}' should be a path inside the repository"
    return None


def get(url: str, into: Path) -> Path:
    """Download the repository, or one member of it, below *into*.

    Of a whole model repository, weights in formats other than safetensors are skipped.

    Raises:
        SourceError: no network, no such repository, revision or member, or no permission.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    kind, repository, revision, member = Address.parse(url)
    with _as_source_errors(url):
        if member and not member.endswith("/"):
            # This fails at once if the hub is unreachable; hf_hub_download would retry for half a minute.
            commit = HfApi().repo_info(repository, repo_type=kind, revision=revision).sha
            result = Path(
                hf_hub_download(repository, member, repo_type=kind, revision=commit, local_dir=into)
            )
            root = into
        else:
            root = into / repository.rpartition("/")[2]
            # A data set, and a folder requested by name, are downloaded completely.
            weights = {"ignore_patterns": _LEFT_OUT} if kind == "model" else {}
            wanted = {"allow_patterns": f"{member}*"} if member else weights
            snapshot_download(repository, repo_type=kind, revision=revision, local_dir=root, **wanted)
            result = root / (member or "")
    shutil.rmtree(root / ".cache", ignore_errors=True)  # huggingface_hub's state for resuming
    if not result.exists() or (result.is_dir() and not any(result.iterdir())):
        raise SourceError(f"{url}: the repository has no such files; see its list of files")
    return result


def at_commit(url: str) -> str:
    """Return *url* pinned to its revision's current commit.

    Raises:
        SourceError: as ``get``.
    """
    from huggingface_hub import HfApi

    kind, repository, revision, member = Address.parse(url)
    with _as_source_errors(url):
        commit = HfApi().repo_info(repository, repo_type=kind, revision=revision).sha
    if not commit or not _COMMIT.fullmatch(commit):
        raise SourceError(f"{url}: the hub returned no commit for revision '{revision}'")
    prefix = "datasets/" if kind == "dataset" else ""
    return f"hf://{prefix}{repository}@{quote(commit)}" + (f"/{member}" if member else "")


@contextmanager
def _as_source_errors(url: str) -> Iterator[None]:
    """Turn errors of huggingface_hub and its HTTP client into a SourceError.

    Raises:
        SourceError: names the URL, the cause and the fix.
    """
    from huggingface_hub import errors

    # The base error of its HTTP client, which differs between versions.
    unreachable = errors.HTTPError  # type: ignore[attr-defined]
    address = Address.parse(url)
    page = f"{address.repository}'s page on the hub"
    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{url}: the repository is gated; accept its terms on {page} and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"{url}: the hub has no such repository, or it is private; check the name, or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{url}: no revision '{address.revision}'; see {page}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise SourceError(f"{url}: no member '{address.member}'; see {page}") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, unreachable) as error:
        reason = first_line(error.__cause__ or error)
        raise SourceError(
            f"{url}: the hub cannot be reached ({reason}); check the network, set HF_ENDPOINT to a mirror, "
            "or copy the folder here and set its path as the source's url"
        ) from error
