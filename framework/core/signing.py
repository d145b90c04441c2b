"""Signatures of published models: OpenSSF Model Signing bundles, by a key pair or an identity.

A bundle lists every file of the published folder with its sha256. The command ``model_signing verify`` of the
package model-signing checks it without this program, on the folder in the store or on a copy of it.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framework.core import evidence
from framework.core.bundle import checked_statement, claimed_signer
from framework.core.error_text import first_line
from framework.core.errors import ReleaseError
from framework.core.key_pair import key_id, load_private
from framework.core.modelstore import LIST, published_files, read_files
from framework.core.release import Release, short_key
from framework.core.sign_packages import sign_module
from framework.core.signers import Identity, Signers
from framework.core.silence_libraries import quiet

PACKAGES = {"model-signing": "sign", "pyopenssl": "sign"}
"""What signing needs, with the extra that installs it; model-signing does not declare the second."""
_PREFIX, _SUFFIX = "model.", ".sig"
_SHOWN = 3


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

    def configured(config: Any, scratch: Path) -> Any:
        pem = scratch / "key.pem"
        pem.write_bytes(key)
        return config.use_elliptic_key_signer(private_key=pem)

    if evidence.find(folder, name) is None:
        evidence.keep(folder, {name: _sign(release, configured)})


def keep_keyless_signature(
    release: Release, token: str, trust_config: Mapping[str, Any] | None = None
) -> None:
    """Sign the model of *release* beside it by the identity of *token*; one that is there stays.

    Args:
        release: a published release.
        token: an OpenID Connect token for the audience ``sigstore``.
        trust_config: that of a private Sigstore instance; None is the public one.

    Raises:
        ReleaseError: the instance does not sign, or the extra ``sign`` is not installed.
        SourceError: the model store cannot be read or written.
    """
    from framework.core.keyless import certified

    def configured(config: Any, scratch: Path) -> Any:
        trust = scratch / "trust.json" if trust_config else None
        if trust:
            trust.write_text(json.dumps(trust_config))
        return config.use_sigstore_signer(identity_token=token, trust_config=trust)

    bundle = _sign(release, configured)
    name = _name(_identity_id(certified(json.loads(bundle))))
    evidence.keep(evidence.model_address(release), {name: bundle})


def signers(release: Release) -> list[str]:
    """Return who signed the model of *release*, as the bundles say; nothing is checked.

    Raises:
        SourceError: the model store cannot be read.
    """
    return [claimed_signer(json.loads(bundle)) for bundle in model_signatures(release.model_uri).values()]


def check_signature(release: Release, accepted: Signers) -> str:
    """Check that one of *accepted* signed the model of *release*; every byte is read.

    Returns:
        Who signed.

    Raises:
        ReleaseError: none did, a file differs, or the extra ``sign`` is not installed for an identity.
        SourceError: the model store cannot be read.
    """
    bundles = model_signatures(release.model_uri)
    ids = [*map(key_id, accepted.public_keys()), *map(_identity_id, accepted.identities)]
    found = [bundles[name] for name in map(_name, ids) if name in bundles]
    if not found:
        raise ReleaseError(f"{release.model_uri}: not signed by {accepted}; build it again with publish.sign")
    try:
        files, signer = signed_files(found[0], accepted)
    except ReleaseError as error:
        raise ReleaseError(f"{release.model_uri}: its signature is not valid: {error}") from None
    if files != published_files(release.model_uri, release.digest):
        raise ReleaseError(f"{release.model_uri}: the signature by {signer} is one of another model")
    if wrong := differences(files, read_files(release.model_uri)):
        raise ReleaseError(f"{release.model_uri}: not as {signer} signed it: {wrong}")
    return signer


def model_signatures(model_uri: str) -> dict[str, bytes]:
    """Return the bundles that are kept beside a published model, by their name.

    Raises:
        SourceError: the model store cannot be read.
    """
    folder = evidence.beside(model_uri)
    names = [name for name in evidence.names(folder) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    return {name: evidence.find(folder, name) or b"{}" for name in names}


def signed_files(bundle: bytes, accepted: Signers) -> tuple[dict[str, str], str]:
    """Return the sha256 of each file that *bundle* lists, by name, and who of *accepted* signed it.

    Raises:
        ReleaseError: none of them did, or it is no signature of a model.
    """
    try:
        body = json.loads(bundle)
    except ValueError as error:
        raise ReleaseError(f"no Sigstore bundle: {first_line(error)}") from None
    statement, signer = checked_statement(body, accepted)
    try:
        predicate = json.loads(statement)["predicate"]
        method, kind = (predicate["serialization"][key] for key in ("method", "hash_type"))
        if (method, kind) != ("files", "sha256"):
            raise ReleaseError(f"it lists {method} by {kind}, and only files by sha256 can be checked")
        return {str(item["name"]): str(item["digest"]) for item in predicate["resources"]}, signer
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"what {signer} signed is no model ({error!r})") from None


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return the first files that differ between two listings, for people; empty if none does."""
    changed = [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} was added" for name in found if name not in wanted),
        *(f"{name} was changed" for name in wanted if found.get(name, wanted[name]) != wanted[name]),
    ]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return ", ".join(changed[:_SHOWN]) + more


def _identity_id(identity: Identity) -> str:
    return hashlib.sha256(str(identity).encode()).hexdigest()


def _name(key: str) -> str:
    return f"{_PREFIX}{short_key(key)}{_SUFFIX}"


class _Listed:
    """Gives model-signing the digests that a store's list has, where it would hash the files."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def hash(self, model_path: Any) -> Any:
        manifest = sign_module("model_signing.manifest")
        form = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [LIST]}
        kind = manifest.SerializationType.from_args(form)
        items = [
            kind.new_item(name, manifest.hashing.Digest("sha256", bytes.fromhex(digest)))
            for name, digest in self._files.items()
        ]
        return manifest.Manifest(str(model_path), items, kind)


def _sign(release: Release, configured: Callable[[Any, Path], Any]) -> bytes:
    """Return model-signing's bundle of the published files, by the signer that *configured* sets."""
    files, signing = published_files(release.model_uri, release.digest), sign_module("model_signing.signing")
    with tempfile.TemporaryDirectory(prefix="gitune-") as scratch:  # only its owner can read it
        bundle = Path(scratch) / "model.sig"
        try:
            with quiet():
                config = configured(signing.Config(), Path(scratch)).set_hashing_config(_Listed(files))
                config.sign(release.name, bundle)
        except Exception as error:  # its errors, and those of its network clients, share no base class
            raise ReleaseError(f"{release.model_uri}: cannot be signed: {first_line(error)}") from error
        return bundle.read_bytes()
