"""Elliptic curve key pairs in PEM, as OpenSSF Model Signing and Sigstore use them."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from framework.core.error_text import first_line
from framework.core.errors import ReleaseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        ECDSA,
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

VARIABLE = "GITUNE_SIGNING_KEY"
"""The environment variable with a private key's text, for CI."""
_MAKE = "make one with `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def read_private(file: str | None, variable: str = VARIABLE) -> bytes | None:
    """Return a private key's PEM text, of *file* or else of the environment's *variable*; None without both.

    Raises:
        ReleaseError: the file cannot be read.
    """
    if not file:
        return os.environ.get(variable, "").encode() or None
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file}: the private key cannot be read: {error.strerror}; {_MAKE}") from error


def load_private(pem: bytes) -> "EllipticCurvePrivateKey":
    """Return the private key in *pem*, which has no password.

    Raises:
        ReleaseError: it cannot be used.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise ReleaseError(f"the private key cannot be read: {first_line(error)}; {_MAKE}") from error
    if not isinstance(private, EllipticCurvePrivateKey) or private.curve.name not in _CURVES:
        raise ReleaseError(f"the private key is not one of {', '.join(_CURVES)}; {_MAKE}")
    return private


def load_public(pem: bytes, source: str) -> "EllipticCurvePublicKey":
    """Return the public key in *pem*.

    Raises:
        ReleaseError: it cannot be used; *source* is named.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(pem)
    except ValueError as error:
        raise ReleaseError(f"{source}: no public key in PEM: {first_line(error)}") from error
    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in _CURVES:
        raise ReleaseError(f"{source}: the public key is not one of {', '.join(_CURVES)}")
    return public


def key_id(public: "EllipticCurvePublicKey") -> str:
    """Return the id of a key pair: the sha256 of its public key in PEM, which bundles have as their hint."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def shown(key: str) -> str:
    """Return how messages name the key pair with the id *key*."""
    return f"key {key[:12] or '(unknown)'}"


def sign(private: "EllipticCurvePrivateKey", message: bytes) -> bytes:
    """Return the ECDSA signature of *message*, with the hash that Sigstore uses for the key's curve."""
    return private.sign(message, _algorithm(private.curve.key_size))


def verifies(public: "EllipticCurvePublicKey", signature: bytes, message: bytes) -> bool:
    """Return whether *signature* is one of *message* by the key pair of *public*."""
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, message, _algorithm(public.curve.key_size))
    except InvalidSignature:
        return False
    return True


def _algorithm(key_size: int) -> "ECDSA":
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA({256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key_size])
