"""What signs a statement: the key that is given, or the one of the environment."""

from functools import partial

from framework.core.approval import Sign
from framework.core.bundle import signed_with_key
from framework.core.key_pair import read_private


def signer(key_file: str | None) -> Sign | None:
    """Return what signs statements; None if there is no key.

    Args:
        key_file: the file of a private key; None or empty reads the variable ``GITUNE_SIGNING_KEY``.

    Raises:
        ReleaseError: the file cannot be read.
    """
    key = read_private(key_file)
    return None if key is None else partial(signed_with_key, private_key=key)
