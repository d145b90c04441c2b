"""Serve one release: fetch its model, verify every byte, answer requests.

Rendered pods run it as ``python -m framework.server``; ``run serve`` calls ``serve_release``. It knows
neither plan nor recipe. It writes only the model's folder and files beside it.
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
from framework.core.streams import print_any_text
from framework.serving import Serving
from framework.serving.triton_repository import DESCRIPTION, lay_out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    A wrong release, config or model is reported in one line on stderr.
    """
    print_any_text()
    arguments = _arguments().parse_args(argv)
    try:
        release = Release.read(arguments.release)
        if arguments.fetch_only:
            pull(release.model_uri, release.digest, arguments.model)
        elif arguments.check_only:
            check(release.digest, arguments.model)
        elif arguments.config is None:
            raise ConfigError("the server's options are missing; add --config <file>, or --fetch-only")
        else:
            serve_release(release, read_serving(arguments.config), arguments.model)
        if arguments.triton_repository is not None:
            description = arguments.release.parent / DESCRIPTION
            lay_out(arguments.model, arguments.triton_repository, release.name, description)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve_release(release: Release, serving: Serving, folder: Path) -> None:
    """Fetch the release's model into *folder*, verify it, and serve it until SIGINT or SIGTERM.

    Args:
        release: the release to serve.
        serving: the server's options.
        folder: the model's folder; to fetch the model, its parent must be writable.

    Raises:
        SourceError: the model cannot be fetched, or its digest differs from the release's.
        ServeError: it cannot be served.
    """
    pull(release.model_uri, release.digest, folder)
    serving.serve(folder, release)


def read_serving(path: Path) -> Serving:
    """Read server options from the JSON of ``Serving.dump()``.

    Raises:
        ConfigError: there is no such file, or it does not contain server options.
    """
    try:
        return Serving.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; set --config to the server's options") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path}: {where}: {first['msg']}; render it again") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); render it again") from None


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m framework.server", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the release.lock")
    parser.add_argument("--config", type=Path, help="the server's options as JSON")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder; fetched if missing")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--fetch-only", action="store_true", help="fetch and verify the model, then exit")
    once.add_argument("--check-only", action="store_true", help="verify the fetched model, then exit")
    parser.add_argument(
        "--triton-repository",
        type=Path,
        metavar="FOLDER",
        help="lay the model out for Triton; config.pbtxt is beside the lock",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
