"""Whose signatures are accepted: public keys, and identities of keyless signing."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from framework.core.component import Component
from framework.core.key_pair import key_id, load_public, shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

PublicKey = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        pattern=r"^-----BEGIN PUBLIC KEY-----\s[\sA-Za-z0-9+/=]+-----END PUBLIC KEY-----$",
    ),
]


class Identity(Component):
    """An identity that a certificate authority vouches for at the moment of signing, such as a workflow's."""

    issuer: Annotated[str, Field(pattern=r"^https://\S+$")]
    """The identity provider, such as ``https://token.actions.githubusercontent.com``."""
    subject: Annotated[str, Field(min_length=1)]
    """What the certificate is issued to: a workflow's address with its ref, or a mail address."""

    def __str__(self) -> str:
        return f"{self.subject} (issuer {self.issuer})"


class Signers(Component):
    """Signers, of whom one is enough."""

    keys: tuple[PublicKey, ...] = ()
    """Public keys in PEM, as ``openssl ec -pubout`` writes them: elliptic curves."""
    identities: tuple[Identity, ...] = ()
    """Identities of keyless signing, for CI; checking them needs the extra ``sign``."""
    trust_config: dict[str, Any] | None = None
    """The client trust config of a private Sigstore instance, as its JSON file has it; None is the public
    instance."""

    def __bool__(self) -> bool:
        return bool(self.keys or self.identities)

    def public_keys(self) -> list["EllipticCurvePublicKey"]:
        """Return the public keys.

        Raises:
            ReleaseError: one cannot be used.
        """
        return [load_public(text.encode(), "environment.signers.keys") for text in self.keys]

    def names(self) -> list[str]:
        """Return each signer as bundles are reported to be by; see ``claimed_signer``.

        Raises:
            ReleaseError: a key cannot be used.
        """
        keys = [shown(key_id(public)) for public in self.public_keys()]
        return [*keys, *map(str, self.identities)]

    def __str__(self) -> str:
        return " or ".join(self.names()) or "no signer"
