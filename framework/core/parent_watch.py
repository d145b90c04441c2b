"""End a child process when its parent is gone, even after ``kill -9`` of the parent.

The parent holds the write end of a pipe that is the child's standard input, and never writes to it.
"""

import os
import signal
import stat
import threading


def exit_with_parent() -> None:
    """Watch standard input in a thread, and end this process once the other end closes.

    A process that leads its own process group ends the whole group, such as a compiler that it started.
    Does nothing if standard input is no pipe: the process was then started by hand or by a cluster.
    """
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    while os.read(0, 4096):  # sys.stdin has a lock that would block the interpreter's exit
        continue
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
