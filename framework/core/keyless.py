"""Sigstore's keyless signatures: a certificate authority vouches for an identity at the moment of signing.

The identity comes from an OpenID Connect token, which continuous integration gives to its jobs. The
certificate lives for minutes; a public transparency log records the signature, and its time. Checking uses no
network. Needs the package sigstore: the extra ``sign``.

Source: https://docs.sigstore.dev/about/security/ and the client specification that it links.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from framework.core.error_text import first_line
from framework.core.errors import ReleaseError
from framework.core.sign_packages import sign_module
from framework.core.signers import Identity, Signers
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ISSUER = "1.3.6.1.4.1.57264.1.1"
"""The extension with the identity provider: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md."""
_PUBLIC = "https://tuf-repo-cdn.sigstore.dev"
"""Where the public instance publishes its keys, which is also how the package names its copy of them."""
_PAYLOAD = "application/vnd.in-toto+json"


def ambient_token() -> str | None:
    """Return the token of the CI job that this process runs in; None outside of CI.

    Raises:
        ReleaseError: the job cannot get one, or the extra ``sign`` is not installed.
    """
    oidc = sign_module("sigstore.oidc")
    try:
        token: str | None = oidc.detect_credential()
    except oidc.IdentityError as error:
        raise ReleaseError(
            f"keyless signing: this CI job gets no identity token: {first_line(error)}; in GitHub Actions "
            "give it `permissions: id-token: write`, in GitLab an id_tokens entry SIGSTORE_ID_TOKEN for the "
            "audience sigstore"
        ) from error
    return token


def signed_keyless(
    statement: bytes, token: str, trust_config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a bundle of *statement* by the identity of *token*; it enters the instance's public log.

    Args:
        statement: an in-toto statement.
        token: an OpenID Connect token for the audience ``sigstore``.
        trust_config: as in ``Signers``.

    Raises:
        ReleaseError: it cannot be signed.
    """
    oidc, sign, dsse = (
        sign_module("sigstore.oidc"),
        sign_module("sigstore.sign"),
        sign_module("sigstore.dsse"),
    )
    try:
        with quiet():
            context = sign.SigningContext.from_trust_config(_client(trust_config))
            with context.signer(oidc.IdentityToken(token)) as signer:
                text = signer.sign_dsse(dsse.Statement(statement)).to_json()
    except Exception as error:  # its errors, and those of its network clients, share no base class
        raise ReleaseError(
            f"keyless signing failed: {first_line(error)}; try again, or give a key"
        ) from error
    bundle: dict[str, Any] = json.loads(text)
    return bundle


def checked_keyless(bundle: Mapping[str, Any], signers: Signers) -> tuple[bytes, str]:
    """Return the statement in *bundle*, and the subject of the accepted identity that signed it.

    The certificate must come from the instance's authority, be logged, and have been valid when the
    transparency log took the signature.

    Raises:
        ReleaseError: it is not valid, none of *signers* signed it, or the extra ``sign`` is not installed.
    """
    models, verify = sign_module("sigstore.models"), sign_module("sigstore.verify")
    try:
        with quiet():
            loaded = models.Bundle.from_json(json.dumps(bundle))
    except Exception as error:  # whatever a forged bundle makes of the parsers
        raise ReleaseError(f"its signature is no Sigstore bundle: {first_line(error)}") from error
    identity = certified(bundle)
    if identity not in signers.identities:
        raise ReleaseError(f"it is signed by {identity}, and accepted is {signers}")
    policy = verify.policy.Identity(identity=identity.subject, issuer=identity.issuer)
    root = _trusted_root(signers.trust_config)
    try:
        with quiet():
            kind, statement = verify.Verifier(trusted_root=root).verify_dsse(loaded, policy)
    except Exception as error:  # whatever a forged bundle makes of the parsers
        keys = (
            "environment.signers.trust_config" if signers.trust_config else f"sigstore {version('sigstore')}"
        )
        raise ReleaseError(
            f"the signature in the name of {identity.subject} is not valid by the keys in {keys}: "
            f"{first_line(error)}"
        ) from error
    if kind != _PAYLOAD:
        raise ReleaseError(f"{identity.subject} signed {kind}, not a statement")
    return bytes(statement), identity.subject


def certified(bundle: Mapping[str, Any]) -> Identity:
    """Return the identity that the certificate in *bundle* names; nothing is checked.

    Raises:
        ReleaseError: it has none.
    """
    from cryptography.x509 import load_der_x509_certificate

    material = bundle["verificationMaterial"]
    try:
        chain = (material.get("x509CertificateChain") or {}).get("certificates", ())
        raw = (material.get("certificate") or chain[0])["rawBytes"]
        return _named(load_der_x509_certificate(b64decode(raw)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ReleaseError(f"its signature has no certificate of an identity ({error!r})") from None


def _named(certificate: "Certificate") -> Identity:
    """Return whom a certificate names, and by whose word.

    Raises:
        ValueError: neither.
    """
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        issuer = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(_ISSUER)).value
    except x509.ExtensionNotFound as error:
        raise ValueError(f"no extension {error.oid.dotted_string}") from None
    subjects = [
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *names.get_values_for_type(x509.RFC822Name),
    ]
    if len(subjects) != 1:
        raise ValueError(f"{len(subjects)} subjects")
    return Identity(subject=subjects[0], issuer=issuer.public_bytes().decode())


def _trusted_root(trust_config: Mapping[str, Any] | None) -> Any:
    """Return the keys and certificates of the instance; those of the public one are in the package.

    Raises:
        ReleaseError: they cannot be read.
    """
    models = sign_module("sigstore.models")
    if trust_config is not None:
        return _client(trust_config).trusted_root
    kept = files("sigstore").joinpath("_store", quote(_PUBLIC, safe=""), "trusted_root.json")
    with as_file(kept) as path:  # the client's own way writes a cache, which a pod's file system refuses
        return models.TrustedRoot.from_file(str(path))


def _client(trust_config: Mapping[str, Any] | None) -> Any:
    """Return the client's trust config; that of the public instance is fetched.

    Raises:
        ReleaseError: it cannot be read.
    """
    client = sign_module("sigstore.models").ClientTrustConfig
    try:
        with quiet():
            return client.production() if trust_config is None else client.from_json(json.dumps(trust_config))
    except Exception as error:  # its errors share no base class
        source = "environment.signers.trust_config" if trust_config else "Sigstore's public instance"
        raise ReleaseError(f"{source}: the trust config cannot be read: {first_line(error)}") from error
