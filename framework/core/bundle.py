"""Sigstore bundles of in-toto statements, signed with a key pair or by an identity.

Formats: https://docs.sigstore.dev/about/bundle/ (version 0.3), with a DSSE envelope as in
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from framework.core.errors import ReleaseError
from framework.core.key_pair import key_id, load_private, shown, sign, verifies
from framework.core.signers import Signers

_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_CERTIFICATES = {"certificate", "x509CertificateChain"}
"""Of which a bundle has one if an identity signed it."""


def signed_with_key(statement: bytes, private_key: bytes) -> dict[str, Any]:
    """Return a bundle of *statement* by a private key in PEM.

    Raises:
        ReleaseError: the key cannot be used.
    """
    private = load_private(private_key)
    signature = sign(private, _encoded(statement))
    return {
        "dsseEnvelope": {
            "payload": b64encode(statement).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"keyid": "", "sig": b64encode(signature).decode()}],
        },
        "mediaType": _TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(private.public_key())}},
    }


def statement_of(bundle: Mapping[str, Any]) -> bytes:
    """Return the statement in *bundle*; its signature is not checked.

    Raises:
        ReleaseError: it is no bundle.
    """
    return _parts(bundle)[0]


def checked_statement(bundle: Mapping[str, Any], signers: Signers) -> tuple[bytes, str]:
    """Return the statement in *bundle*, and who of *signers* signed it: ``key 0123456789ab``, or a subject.

    Raises:
        ReleaseError: it is no bundle, none of *signers* signed it, or it was changed since.
    """
    statement, signature, hint = _parts(bundle)
    if _CERTIFICATES & {*bundle["verificationMaterial"]}:
        from framework.core.keyless import checked_keyless  # a key pair needs no Sigstore client

        return checked_keyless(bundle, signers)
    known = signers.public_keys()
    for public in known:
        if verifies(public, signature, _encoded(statement)):
            return statement, shown(key_id(public))
    if hint in map(key_id, known):
        raise ReleaseError(f"it was changed after {shown(hint)} signed it: the signature is not valid")
    raise ReleaseError(f"it is signed by {shown(hint)}, and accepted is {signers}")


def claimed_signer(bundle: Mapping[str, Any]) -> str:
    """Return who signed *bundle*, as it says; nothing is checked.

    Raises:
        ReleaseError: it is no bundle.
    """
    hint = _parts(bundle)[2]
    if not _CERTIFICATES & {*bundle["verificationMaterial"]}:
        return shown(hint)
    from framework.core.keyless import certified

    return str(certified(bundle))


def _parts(bundle: Mapping[str, Any]) -> tuple[bytes, bytes, str]:
    """Return statement, signature and the signing key's id.

    Raises:
        ReleaseError: one of them is missing.
    """
    try:
        envelope = bundle["dsseEnvelope"]
        statement = b64decode(envelope["payload"], validate=True)
        signature = b64decode(envelope["signatures"][0]["sig"], validate=True)
        public = bundle["verificationMaterial"].get("publicKey") or {}
        return statement, signature, str(public.get("hint", ""))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ReleaseError(f"its signature is no Sigstore bundle with a DSSE envelope ({error!r})") from None


def _encoded(statement: bytes) -> bytes:
    """Return what a DSSE signature covers: DSSE's pre-authentication encoding."""
    kind = _PAYLOAD.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(statement), statement)
