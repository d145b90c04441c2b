"""Key pairs for tests, made by OpenSSL as the documentation says."""

import subprocess
from pathlib import Path


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an elliptic curve key pair; return the files of its private and its public key."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    curve = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    for words in (curve, ("ec", "-in", private, "-pubout", "-out", public)):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    return private, public
