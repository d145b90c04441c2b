import subprocess
import sys

SCRIPT = """
import time
from framework.core.parent_watch import exit_with_parent
exit_with_parent()
print("ready", flush=True)
time.sleep({seconds})
"""


def start(environ: dict[str, str], stdin: int, seconds: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SCRIPT.format(seconds=seconds)]
    child = subprocess.Popen(
        command, env=environ, stdin=stdin, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
    return child


def test_a_closed_pipe_kills_the_process_group(environ: dict[str, str]) -> None:
    child = start(environ, subprocess.PIPE, 60)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == -9


def test_standard_input_that_is_no_pipe_is_ignored(environ: dict[str, str]) -> None:
    assert start(environ, subprocess.DEVNULL, 0.2).wait(30) == 0
