"""Serve what a config built, and take a newer build of it while serving."""

import os
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path

from framework.core.errors import ReleaseError
from framework.core.release import Release
from framework.core.signals import handle_signals
from framework.run.build_release import plan_to_find
from framework.run.call import Call, called
from framework.serving import Renewed

SECONDS = 2.0
"""How often the lock in the environment is looked at."""


def serve(call: Call) -> None:
    """Serve the release of this config until SIGINT or SIGTERM.

    On SIGHUP, and after a build that changes the lock in the environment, the config is composed again and
    its release is served instead.

    Raises:
        FrameworkError: it is not built, or cannot be served.
    """
    from framework.server import serve_release

    release = built_release(call)
    served = call.store.root / "served"
    served.mkdir(parents=True, exist_ok=True)
    terminal = _has_terminal()
    handle_signals(lambda number: _end_without(terminal), (signal.SIGHUP,))  # until the server takes it
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(call.lock, over), name="lock", daemon=True)
    with tempfile.TemporaryDirectory(prefix="reloaded-", dir=served) as beside:
        watch.start()
        try:
            renewed = renewing(call, Path(beside), terminal=terminal)
            serve_release(release, call.config.serving, served / _digits(release), renewed)
        finally:
            over.set()


def built_release(call: Call) -> Release:
    """Return the release that this config built.

    Raises:
        FrameworkError: there is none.
    """
    release = call.config.launcher.find(call.work(plan_to_find(call)))
    if release is None:
        raise ReleaseError(
            f"this config is not built; build it first: {call.command.replace(' serve', '', 1)}"
        )
    return release


def renewing(call: Call, folder: Path, *, terminal: bool) -> Renewed:
    """Return what finds the release that the same words give now, with its model below *folder*.

    Args:
        call: the command that serves.
        folder: a folder of its own.
        terminal: whether the command has a terminal; if that is closed, the server ends.
    """

    def read() -> tuple[Release, Path]:
        from framework.config.compose_config import composed
        from framework.core.modelstore import pull

        _end_without(terminal)
        new = called(composed(call.words), call.command)
        release = built_release(new)
        if changed := _changed(call, new):
            print(f"reload: start the server again for changes of {', '.join(changed)}", file=sys.stderr)
        model = folder / _digits(release)
        pull(release.model_uri, release.digest, model)
        return release, model

    return read


def _changed(old: Call, new: Call) -> list[str]:
    """Return the server's options that are others now, which a reload does not change."""
    before, after = old.config.serving.dump(), new.config.serving.dump()
    return [f"serving.{name}" for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _digits(release: Release) -> str:
    return release.digest.partition(":")[2]


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _end_without(terminal: bool) -> None:
    """End the server if its *terminal* was closed: that sends SIGHUP, too."""
    if terminal and not _has_terminal():
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):  # writing to a closed terminal is an error
                os.dup2(null, stream)
        os.kill(os.getpid(), signal.SIGTERM)
        raise ReleaseError("the terminal was closed, so the server ends")


def _watch(lock: Path, over: threading.Event) -> None:
    """Send SIGHUP to this process whenever *lock* has changed."""
    before = _content(lock)
    while not over.wait(SECONDS):
        if (now := _content(lock)) != before:
            before = now
            os.kill(os.getpid(), signal.SIGHUP)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
