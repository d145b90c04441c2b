"""``run serve`` follows the builds of its recipe, and ends with its terminal."""

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from server_process import ROOT, Served, alive, descendants, eventually, free_port

from framework.core import metric_names as metrics
from framework.core.release import Release

RECIPE = (ROOT / "recipes" / "tiny.yaml").read_text()


@pytest.fixture
def folder(built_tiny, tmp_path):
    """A working folder with a recipe of its own, which is built."""
    shutil.copytree(built_tiny, tmp_path / "work")
    recipe = tmp_path / "work" / "recipes" / "own.yaml"
    recipe.parent.mkdir(exist_ok=True)
    recipe.write_text(RECIPE)
    return tmp_path / "work"


def built(run, folder):
    done = run(folder, "+recipe=own")
    assert done.returncode == 0, done.stdout + done.stderr
    return Release.read(folder / "environments/dev/tiny/release.lock")


def said_until(process, words):
    """Return what the server says until a line with *words*."""
    said = []
    while not said or words not in said[-1]:
        said.append(process.stdout.readline())
        assert said[-1], f"the server has ended: {said}"
    return "".join(said)


def serves(served, release):
    return served.sample(metrics.RELEASE_INFO, f'digest="{release.digest}"') == 1


@pytest.mark.slow
def test_new_build_of_the_recipe_is_served(run, start, folder: Path) -> None:
    first, port = built(run, folder), free_port()
    process = start(folder, "serve", "+recipe=own", f"serving.port={port}")
    served = Served(process, port)
    assert eventually(lambda: served.status("/ready") == 200 or process.poll() is not None, 120)
    assert serves(served, first)
    process.send_signal(signal.SIGHUP)  # nothing is new
    said_until(process, "the model is the same")
    changed = RECIPE.replace("int4-weight", "none") + "serving: {max_new_tokens: 7}\n"
    (folder / "recipes" / "own.yaml").write_text(changed)
    process.send_signal(signal.SIGHUP)  # it is not built
    said_until(process, "is not built")
    second = built(run, folder)  # without a signal
    assert second.digest != first.digest
    assert "serving.max_new_tokens" in said_until(process, "reload: serving tiny")
    assert serves(served, second)
    assert served.client.models.list().data[0].id == "tiny"
    process.terminate()
    assert process.wait(30) == 0
    assert not list((folder / ".gitune/store/served").glob("reloaded-*"))


@pytest.mark.slow
def test_server_ends_with_its_terminal(built_tiny, environ, tmp_path) -> None:
    shutil.copytree(built_tiny, tmp_path / "work")
    master, slave = pty.openpty()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "framework.cli.main", "serve", "+recipe=tiny", f"serving.port={port}"],
        cwd=tmp_path / "work",
        env=environ,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    served = Served(process, port)
    try:
        assert eventually(lambda: served.status("/ready") == 200 or process.poll() is not None, 120)
        engines = descendants(process.pid)
        os.close(master)
        assert process.wait(30) == 0
        assert eventually(lambda: not any(map(alive, engines)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
