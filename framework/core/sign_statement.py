"""Who signs a statement here: a key pair, or the identity of the CI job."""

from typing import Any

from framework.core.approval import Sign
from framework.core.bundle import checked_statement, signed_with_key
from framework.core.key_pair import read_private
from framework.core.signers import Signers


def signer(key_file: str | None, signers: Signers) -> Sign | None:
    """Return what signs statements here; None if nothing can.

    The first of: the private key in *key_file*; that in the environment variable ``GITUNE_SIGNING_KEY``; the
    identity of the CI job, where *signers* accept identities. What it signs is checked against *signers*, so
    that a signature that they refuse is never written.

    Args:
        key_file: the file of a private key in PEM; None or empty without one.
        signers: whose signatures are accepted; empty accepts any.

    Raises:
        ReleaseError: the key cannot be read, the job cannot get an identity token, or the extra ``sign`` is
            not installed.
    """
    if key := read_private(key_file):
        return lambda statement: _accepted(signed_with_key(statement, key), signers)
    if not signers.identities:
        return None
    from framework.core.keyless import ambient_token, signed_keyless

    if token := ambient_token():
        return lambda statement: _accepted(signed_keyless(statement, token, signers.trust_config), signers)
    return None


def _accepted(bundle: dict[str, Any], signers: Signers) -> dict[str, Any]:
    """Return *bundle* if *signers* accept it.

    Raises:
        ReleaseError: they do not.
    """
    if signers:
        checked_statement(bundle, signers)
    return bundle
