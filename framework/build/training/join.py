"""What every machine of a job but the first does: it joins where the first one trains.

They share a disk, the store's. The first machine's order for its ranks (``tune.json``, in the scratch
folder of the step) is the invitation; it goes when that training ends. What else the first machine
does, this module does not know.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from framework.build.training.launch import ORDER, launch
from framework.core.machine_rank import run_name

_LOOK_SECONDS = 1.0


def join(store: Path, keys: Sequence[str], over: Path) -> int:
    """Take part in every training of the steps *keys*, until the first machine says that all is over.

    Args:
        store: the root of the artifacts' store, on the disk that the machines share.
        keys: the steps that the first machine builds.
        over: the file that it writes its exit code to, at the end.

    Returns:
        The first machine's exit code.
    """
    print("joining the first machine where it trains", flush=True)
    done: dict[Path, int] = {}
    while not over.exists():
        for order, written in _orders(store, keys):
            if done.get(order) == written:
                continue
            print(f"  joining {order.parent.name[:12]}", flush=True)
            try:
                code = launch(order)
            except FileNotFoundError:
                continue
            if code == 0:
                done[order] = written  # it stays there until the first machine's ranks have ended too
        time.sleep(_LOOK_SECONDS)
    return int(over.read_text(encoding="utf-8"))


def _orders(store: Path, keys: Sequence[str]) -> list[tuple[Path, int]]:
    """Return each order of this very run, and when it was written, in nanoseconds."""
    found = []
    for key in keys:
        order = store / "scratch" / key / ORDER
        try:
            if json.loads(order.read_text(encoding="utf-8"))["run"] == run_name():
                found.append((order, order.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found
