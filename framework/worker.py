"""The process that does the work: ``python -m framework.worker step.json``.

It knows a list of steps and a store, never Hydra. Where standard input is a pipe, the runner holds
the other end, and losing it is the sign that the runner is gone: then the worker ends at once.

On a cluster every machine of a job runs this same command. The first (``PET_NODE_RANK`` 0, or none)
builds the steps; the others join it where it trains, and end when it says so.
"""

import json
import logging
import os
import signal
import stat
import sys
import threading
import time
import warnings
from pathlib import Path

from framework.build.training.join import join
from framework.core.errors import FrameworkError
from framework.core.filesystem import write_whole
from framework.core.job import read_steps
from framework.core.machine_rank import MESSAGE, machine, over_file
from framework.core.step import Step
from framework.core.store import Store

QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
"""Environment that the libraries read when they are imported."""

_TALKATIVE = ("DeepSpeed", "torch.utils._pytree", "torchao")
"""Loggers that warn of GPUs they did not find; transformers imports their libraries where they are."""


def main(file: Path) -> int:
    """Build every step of the job in *file*, or help the machine that does; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides, and sends SIGTERM
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _quieten()
    job = json.loads(file.read_text(encoding="utf-8"))
    store = Store(Path(job["store"]))
    over = over_file(store.root, job["steps"][-1]["key"])
    if machine() > 0:
        return join(store.root, job["pending"], over)
    for ended in over.parent.glob(f"{over.name.partition('-')[0]}-*.over"):
        ended.unlink(missing_ok=True)  # of runs before this one
    code = 0
    try:
        steps = read_steps(job)
        for key in job["again"]:
            store.forget(steps[key])
        total = job["total"]
        for key in job["pending"]:
            _build(store, steps[key], job["positions"][key], total)
    except FrameworkError as error:
        print(error, file=sys.stderr, flush=True)
        code = error.exit_code
        if place := os.environ.get(MESSAGE):
            Path(place).write_text(f"{error}\n", encoding="utf-8")
    if job["machines"] > 1:
        write_whole(over, str(code))
    return code


def _quieten() -> None:
    """Keep libraries from talking over the progress lines; ``PYTHONWARNINGS`` brings warnings back."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
    for talkative in _TALKATIVE:
        # A filter, since some set their own level when they are imported.
        logging.getLogger(talkative).addFilter(lambda record: record.levelno >= logging.ERROR)


def _tell() -> None:
    """Show what the framework logs about itself, such as a download that takes minutes."""
    told = logging.StreamHandler(sys.stdout)
    told.setFormatter(logging.Formatter("  %(message)s"))
    log = logging.getLogger("framework")
    log.addHandler(told)
    log.setLevel(logging.INFO)
    log.propagate = False


def _build(store: Store, step: Step, position: int, total: int) -> None:
    print(f"[{position:2}/{total}] {step.label}", flush=True)
    started = time.monotonic()
    store.build(step, announce=lambda message: print(f"  {message}", flush=True))
    record = store.record(step) or {}
    peak = record.get("peak_memory_bytes", 0) / 2**30
    print(f"  done in {time.monotonic() - started:.1f} s, peak {peak:.1f} GiB", flush=True)


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _die_with_parent() -> None:
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return  # started by hand or by a cluster: nobody holds the other end
    while os.read(0, 4096):  # sys.stdin's own lock would block the interpreter's end
        continue
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with all that we started, such as a download
    os._exit(1)


if __name__ == "__main__":
    _tell()
    sys.exit(main(Path(sys.argv[1])))
