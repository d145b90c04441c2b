"""Signatures of published models: OpenSSF Model Signing bundles, made and checked with a key pair.

A bundle lists every file of the published folder with its sha256. The command ``model_signing verify key`` of
the package model-signing checks it without this program, on the folder in the store or on a copy of it.
"""

import json
import tempfile
from base64 import b64decode
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from framework.core import evidence
from framework.core.error_text import first_line
from framework.core.errors import ReleaseError
from framework.core.key_pair import key_id, load_private, load_public
from framework.core.modelstore import LIST, local_folder, published_files, pull
from framework.core.release import Release, short_key

PACKAGES = {"model-signing": "sign", "pyopenssl": "sign"}
"""What signing needs, with the extra that installs it; model-signing does not declare the second."""
_PREFIX, _SUFFIX = "model.", ".sig"


def keep_signature(release: Release, key: bytes) -> None:
    """Sign the model of *release* beside it, unless a signature by the same key is there.

    The signature covers the list of the published folder, which has the release's digest; no model is read.

    Args:
        release: a published release.
        key: a private key in PEM: an elliptic curve key, without a password.

    Raises:
        ReleaseError: the key cannot be used, or the extra ``sign`` is not installed.
        SourceError: the model store cannot be read or written.
    """
    folder, name = evidence.model_address(release), _name(key_id(load_private(key).public_key()))
    if evidence.find(folder, name) is None:
        files = published_files(release.model_uri, release.digest)
        evidence.keep(folder, {name: _sign(release, files, key)})


def signers(release: Release) -> list[str]:
    """Return the first digits of the id of each key that signed the model of *release*; nothing is checked.

    Raises:
        SourceError: the model store cannot be read.
    """
    names = evidence.names(evidence.model_address(release))
    return [
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        for name in names
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    ]


def check_signature(release: Release, key: Path) -> None:
    """Check that the key pair of the public *key* signed the model of *release*; every byte is read.

    Raises:
        ReleaseError: it did not, a file differs, or the extra ``sign`` is not installed.
        SourceError: the model store cannot be read.
    """
    name = _name(key_id(load_public(_read(key), str(key))))
    bundle = evidence.find(evidence.model_address(release), name)
    if bundle is None:
        raise ReleaseError(f"{release.model_uri}: not signed by {key}; build it again with publish.sign")
    files = published_files(release.model_uri, release.digest)
    with tempfile.TemporaryDirectory(prefix="gitune-") as scratch:
        folder = local_folder(release.model_uri)
        if folder is None:
            folder = Path(scratch) / "model"
            pull(release.model_uri, release.digest, folder)
        path = Path(scratch) / name
        path.write_bytes(bundle)
        _verify(release, folder, path, key)
    if _signed_files(bundle) != files:
        raise ReleaseError(f"{release.model_uri}: the signature by {key} is one of another model")


def _name(key: str) -> str:
    return f"{_PREFIX}{short_key(key)}{_SUFFIX}"


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{key}: the public key cannot be read: {error.strerror}") from error


class _Listed:
    """Gives model-signing the digests that a store's list has, where it would hash the files."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def hash(self, model_path: Any) -> Any:
        manifest = _upstream("manifest")
        form = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [LIST]}
        kind = manifest.SerializationType.from_args(form)
        items = [
            kind.new_item(name, manifest.hashing.Digest("sha256", bytes.fromhex(digest)))
            for name, digest in self._files.items()
        ]
        return manifest.Manifest(str(model_path), items, kind)


def _sign(release: Release, files: Mapping[str, str], key: bytes) -> bytes:
    signing = _upstream("signing")
    with tempfile.TemporaryDirectory(prefix="gitune-") as scratch:  # only its owner can read it
        pem, bundle = Path(scratch) / "key.pem", Path(scratch) / "model.sig"
        pem.write_bytes(key)
        config = signing.Config().use_elliptic_key_signer(private_key=pem)
        config.set_hashing_config(_Listed(files)).sign(release.name, bundle)
        return bundle.read_bytes()


def _verify(release: Release, folder: Path, bundle: Path, key: Path) -> None:
    verifying = _upstream("verifying")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, bundle)
    except Exception as error:  # its errors share no base class
        raise ReleaseError(
            f"{release.model_uri}: the signature by {key} is not valid: {first_line(error)}"
        ) from error


def _signed_files(bundle: bytes) -> dict[str, str]:
    """Return the sha256 of each file that a checked bundle lists, by name."""
    statement = json.loads(b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    return {str(item["name"]): str(item["digest"]) for item in statement["predicate"]["resources"]}


def _upstream(module: str) -> Any:
    """Return a module of model-signing, which is typed in part only.

    Raises:
        ReleaseError: the extra ``sign`` is not installed.
    """
    try:
        return import_module(f"model_signing.{module}")
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> ReleaseError:
    return ReleaseError(f"signatures: {error}; pip install 'gitune[sign]'")
