"""``python -m framework.serving.access.new_key``: make an API key.

The key is printed once, to standard output alone; its entry for the file of keys has the hash.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from framework.core import yaml
from framework.serving.access.key_file import KeyEntry, hash_of

PREFIX = "gitune-"
"""What all keys begin with, so that scanners of repositories find them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a new key to standard output and its entry to standard error; return the exit code."""
    arguments = _arguments().parse_args(argv)
    key = PREFIX + secrets.token_urlsafe(32)
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    try:
        entry = KeyEntry.model_validate({**given, "hash": hash_of(key)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        flag = "-".join(map(str, first["loc"])).replace("_", "-")
        print(f"--{flag}: {first['msg']}", file=sys.stderr)
        return 2
    print(key)
    print("The key is above, and is not stored. Add its entry below 'keys:'.", file=sys.stderr)
    print(yaml.dump([entry.model_dump(mode="json", exclude_none=True)]), end="", file=sys.stderr)
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m framework.serving.access.new_key", description=__doc__)
    parser.add_argument("--name", required=True, help="what logs call the key: lower-case letters and digits")
    parser.add_argument("--requests-per-minute", type=int, help="most requests of each server process")
    parser.add_argument("--tokens-per-minute", type=int, help="most tokens of prompts and answers")
    parser.add_argument("--priority", choices=("low", "normal", "high"), help="normal if it is not given")
    parser.add_argument("--expires", help="such as 2027-01-31T00:00:00Z")
    return parser


if __name__ == "__main__":
    sys.exit(main())
