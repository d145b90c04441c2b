"""Serve one release: fetch its model, check every byte, answer requests.

This is the command of the rendered pods, ``python -m framework.server``, and what ``run serve``
calls. It knows no plan and no recipe; it writes only the model's folder and what lies beside it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from framework.core.errors import ConfigError, FrameworkError
from framework.core.modelstore import check, pull
from framework.core.release import Release
from framework.serving import Serving
from framework.serving.triton_repository import DESCRIPTION, lay_out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    A wrong release, config or model ends with one line on stderr.
    """
    given = _arguments().parse_args(argv)
    try:
        release = Release.read(given.release)
        if given.fetch_only:
            pull(release.model_uri, release.digest, given.model)
        elif given.check_only:
            check(release.digest, given.model)
        elif given.config is None:
            raise ConfigError(
                "no server's options; give them with --config, or --fetch-only to serve nothing"
            )
        else:
            serve_release(release, read_serving(given.config), given.model)
        if given.triton_repository is not None:
            lay_out(given.model, given.triton_repository, release.name, given.release.parent / DESCRIPTION)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve_release(release: Release, serving: Serving, folder: Path) -> None:
    """Make *folder* the release's model, verified, and serve it until SIGINT or SIGTERM.

    Args:
        release: what is served.
        serving: the server's options.
        folder: where the model lies or will lie; its parent must be writable if it is to be fetched.

    Raises:
        SourceError: the model cannot be fetched or is not what the release says.
        ServeError: it cannot be served.
    """
    pull(release.model_uri, release.digest, folder)
    serving.serve(folder, release)


def read_serving(path: Path) -> Serving:
    """Read server options from the JSON that ``Serving.dump()`` gives.

    Raises:
        ConfigError: there is no such file, or it does not hold a server's options.
    """
    try:
        return Serving.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the server's options with --config") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigError(f"{path}: {where}: {first['msg']}; render it again") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); render it again") from None


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m framework.server", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the release.lock")
    parser.add_argument("--config", type=Path, help="the server's options as JSON")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder; fetched if missing")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--fetch-only", action="store_true", help="fetch and check the model, then stop")
    once.add_argument("--check-only", action="store_true", help="check the model that is there, then stop")
    parser.add_argument(
        "--triton-repository",
        type=Path,
        metavar="FOLDER",
        help="lay the model out for Triton; config.pbtxt lies beside the lock",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
