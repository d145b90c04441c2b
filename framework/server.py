"""Serve one release: fetch its model, verify every byte, answer requests.

Rendered pods run it as ``python -m framework.server``; ``run serve`` calls ``serve_release``. It knows
neither plan nor recipe. It writes only the model's folder and files beside it.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from framework.core.approval import check_approval
from framework.core.component import Component
from framework.core.errors import ConfigError, FrameworkError, ReleaseError
from framework.core.modelstore import check, pull
from framework.core.release import Release
from framework.core.signals import ignore_signals
from framework.core.signers import Signers
from framework.core.streams import print_any_text
from framework.serving import Renewed, Serving
from framework.serving.triton_repository import DESCRIPTION, lay_out

C = TypeVar("C", bound=Component)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    A wrong release, config or model is reported in one line on stderr.
    """
    print_any_text()
    arguments = _arguments().parse_args(argv)
    try:
        release = Release.read(arguments.release)
        if arguments.signers is not None:
            require_approval(release, arguments)
        if arguments.fetch_only:
            pull(release.model_uri, release.digest, arguments.model)
            if arguments.config is not None:
                read_serving(arguments.config).fetch(arguments.model)
        elif arguments.check_only:
            check(release.digest, arguments.model)
        elif arguments.config is None:
            raise ConfigError("the server's options are missing; add --config <file>, or --fetch-only")
        else:
            ignore_signals((signal.SIGHUP,))  # until there is a server that can reload
            serve_release(release, read_serving(arguments.config), arguments.model, _renewed(arguments))
        if arguments.triton_repository is not None:
            description = arguments.release.parent / DESCRIPTION
            lay_out(arguments.model, arguments.triton_repository, release.name, description)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve_release(release: Release, serving: Serving, folder: Path, renewed: Renewed | None = None) -> None:
    """Fetch the release's model into *folder*, verify it, and serve it until SIGINT or SIGTERM.

    Args:
        release: the release to serve.
        serving: the server's options.
        folder: the model's folder; to fetch the model, its parent must be writable.
        renewed: returns the release to serve after SIGHUP; None leaves that signal alone.

    Raises:
        SourceError: the model cannot be fetched, or its digest differs from the release's.
        ServeError: it cannot be served.
    """
    pull(release.model_uri, release.digest, folder)
    if renewed is None:
        serving.serve(folder, release)
    else:
        serving.serve_renewed(folder, release, renewed)


def _renewed(arguments: argparse.Namespace) -> Renewed:
    """Return what reads the lock again, with the checks that the first one passed."""

    def read() -> tuple[Release, Path]:
        release = Release.read(arguments.release)
        if arguments.signers is not None:
            require_approval(release, arguments)
        # Beside the folder that is in use, which a reload must not touch.
        name = f"{arguments.model.name}-{release.digest.removeprefix('sha256:')[:12]}"
        folder: Path = arguments.model.with_name(name)
        pull(release.model_uri, release.digest, folder)
        return release, folder

    return read


def require_approval(release: Release, arguments: argparse.Namespace) -> None:
    """Refuse *release* unless one of the signers admits it to the environment, as the pod's annotations say.

    Args:
        release: the release in the pod.
        arguments: ``signers``, ``environment``, ``approval`` and ``digest`` of the command line.

    Raises:
        ReleaseError: it is not signed, or changed, for another environment, or by others; or the pod names
            another approval or model.
        ConfigError: there are no signers, or no environment.
    """
    if not arguments.environment:
        raise ConfigError("--signers: also set --environment, the name of the environment that is signed for")
    again = "apply environments/argocd/ again, which `run argocd` writes"
    signers = _read(Signers, arguments.signers, again)
    if not signers:
        raise ConfigError(f"{arguments.signers}: no signer; {again}")
    try:
        approval = check_approval(release, arguments.environment, signers)
        expected = (
            ("approval", arguments.approval, str(approval.number)),
            ("digest", arguments.digest, release.digest),
        )
        for name, given, signed in expected:
            if given is not None and given != signed:
                raise ReleaseError(
                    f"its {name} is {signed}, but the pod's is {given or 'missing'}: the lock is an earlier "
                    "one, or another's"
                )
    except ReleaseError as error:
        raise ReleaseError(
            f"{arguments.release}: refused in {arguments.environment}: {error}; restore the release's "
            "folder from Git, or promote it again, which signs it"
        ) from error


def read_serving(path: Path) -> Serving:
    """Read server options from the JSON of ``Serving.dump()`` or ``Serving.changes()``.

    Raises:
        ConfigError: there is no such file, or it does not contain server options.
    """
    return _read(Serving, path, "render it again, or set --config to the server's options")


def _read(kind: type[C], path: Path, advice: str) -> C:
    """Return the component whose ``dump()`` is in the JSON file at *path*.

    Raises:
        ConfigError: there is no such file, or it has another content; *advice* says what to do.
    """
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {advice}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        if first["type"] == "extra_forbidden":
            newer = "use an image of the version that rendered the file, or leave the option out"
            raise ConfigError(f"{path}: {where}: this version does not know it; {newer}") from None
        raise ConfigError(f"{path}: {where}: {first['msg']}; {advice}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); {advice}") from None


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m framework.server", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the release.lock")
    parser.add_argument("--config", type=Path, help="the server's options as JSON")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder; fetched if missing")
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--fetch-only", action="store_true", help="fetch and verify the model, then exit")
    once.add_argument("--check-only", action="store_true", help="verify the fetched model, then exit")
    parser.add_argument("--signers", type=Path, help="accepted signers as JSON; the lock must be signed")
    parser.add_argument("--environment", help="the environment that the lock must be signed for")
    parser.add_argument("--approval", help="the number that the lock's approval must have")
    parser.add_argument("--digest", help="the digest that the signed model must have")
    parser.add_argument(
        "--triton-repository",
        type=Path,
        metavar="FOLDER",
        help="lay the model out for Triton; config.pbtxt is beside the lock",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
