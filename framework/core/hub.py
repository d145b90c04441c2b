"""``hf://org/name@revision/member``: a model or data set repository of the Hugging Face Hub.

The token is the one that huggingface_hub finds (``HF_TOKEN`` or its login), the hub the one that
``HF_ENDPOINT`` names. It knows nothing of caches and hashes; a broken download goes on where it ended.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from framework.core.errors import SourceError

_FORM = re.compile(r"hf://(datasets/)?([\w.-]+)/([\w.-]+)(?:@([^/@]+))?(?:/(.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# The same weights in other frameworks' formats, and pickles, which the framework never opens.
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
        """Parse a URL that ``problem`` finds nothing wrong with."""
        found = _FORM.fullmatch(url)
        assert found is not None, "checked by Source"
        kind = "dataset" if found[1] else "model"
        return cls(kind, f"{found[2]}/{found[3]}", unquote(found[4] or "main"), found[5])

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit hash, which can never mean other bytes."""
        return _COMMIT.fullmatch(self.revision) is not None


def problem(url: str) -> str | None:
    """Say what is wrong with the shape of *url*, or None."""
    found = _FORM.fullmatch(url)
    if found is None or (found[2] == "datasets" and not found[1]):
        return f"'{url}' should have the form hf://org/name@revision, or hf://org/name@revision/member"
    if found[5] and ".." in found[5].split("/"):
        return f"the member '{found[5]}' should be a path inside the repository"
    return None


def get(url: str, into: Path) -> Path:
    """Put the repository (safetensors and text, no other format's weights) or its member below *into*.

    Raises:
        SourceError: no network, no such repository, revision or member, or no permission.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    kind, repository, revision, member = Address.parse(url)
    with _one_sentence(url):
        if member and not member.endswith("/"):
            # Asked first, for it answers at once where hf_hub_download would retry for half a minute.
            commit = HfApi().repo_info(repository, repo_type=kind, revision=revision).sha
            result = Path(
                hf_hub_download(repository, member, repo_type=kind, revision=commit, local_dir=into)
            )
            notes = into
        else:
            notes = into / repository.rpartition("/")[2]
            # A folder that was asked for by name comes whole; of a whole repository the rest is left.
            wanted = {"allow_patterns": f"{member}*"} if member else {"ignore_patterns": _LEFT_OUT}
            snapshot_download(repository, repo_type=kind, revision=revision, local_dir=notes, **wanted)
            result = notes / (member or "")
    shutil.rmtree(notes / ".cache", ignore_errors=True)  # huggingface_hub's notes for resuming
    if not result.exists() or (result.is_dir() and not any(result.iterdir())):
        raise SourceError(f"{url}: the repository has nothing there; look at its list of files")
    return result


def at_commit(url: str) -> str:
    """Return *url* with the commit that its revision means now.

    Raises:
        SourceError: as ``get``.
    """
    from huggingface_hub import HfApi

    kind, repository, revision, member = Address.parse(url)
    with _one_sentence(url):
        commit = HfApi().repo_info(repository, repo_type=kind, revision=revision).sha
    if not commit or not _COMMIT.fullmatch(commit):
        raise SourceError(f"{url}: the hub gave no commit for the revision '{revision}'")
    prefix = "datasets/" if kind == "dataset" else ""
    return f"hf://{prefix}{repository}@{quote(commit)}" + (f"/{member}" if member else "")


@contextmanager
def _one_sentence(url: str) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP client raise into a SourceError."""
    from huggingface_hub import errors

    # Its HTTP client's base error; which client that is has changed between its versions.
    unreachable = errors.HTTPError  # type: ignore[attr-defined]
    address = Address.parse(url)
    page = f"the hub's page of {address.repository}"
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
        raise SourceError(f"{url}: there is no revision '{address.revision}'; see {page}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise SourceError(f"{url}: there is no member '{address.member}'; see {page}") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, unreachable) as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise SourceError(
            f"{url}: the hub cannot be reached ({why}); connect, set HF_ENDPOINT to a mirror, "
            "or copy the folder here and give its path as the source's url"
        ) from error
