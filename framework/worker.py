"""The process that builds the steps: ``python -m framework.worker step.json``.

It knows a list of steps and a store, never Hydra. If standard input is a pipe, the runner holds the other
end; the worker exits once the runner is gone.

On a cluster every machine of a job runs this same command. The first (``PET_NODE_RANK`` 0, or unset)
builds the steps. The others join its trainings, and exit when it reports the end.
"""

import gc
import json
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path

from framework.build.training.join import join
from framework.core.errors import FrameworkError
from framework.core.filesystem import write_whole
from framework.core.job import read_steps
from framework.core.machine_rank import MESSAGE, machine_rank, over_file
from framework.core.parent_watch import exit_with_parent
from framework.core.signals import exit_with_signal, handle_signals, ignore_signals
from framework.core.step import Step
from framework.core.store import Store
from framework.core.streams import print_any_text

QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}
"""Environment variables that the libraries read on import."""

_NOISY = ("DeepSpeed", "torch.utils._pytree", "torchao")
"""Loggers that warn about missing GPUs. transformers imports their libraries if they are installed."""


def main(file: Path) -> int:
    """Build every step of the job in *file*, or join the machine that does; return the exit code."""
    print_any_text()
    handle_signals(exit_with_signal, [signal.SIGTERM])
    ignore_signals([signal.SIGINT])  # the runner decides, and sends SIGTERM
    exit_with_parent()
    _silence_libraries()
    job = json.loads(file.read_text(encoding="utf-8"))
    store = Store(Path(job["store"]))
    over = over_file(store.root, job["steps"][-1]["key"])
    if machine_rank() > 0:
        return join(store.root, job["pending"], over)
    for stale in over.parent.glob(f"{over.name.partition('-')[0]}-*.over"):
        stale.unlink(missing_ok=True)  # of earlier runs
    code = 0
    try:
        steps = read_steps(job)
        for key in job["again"]:
            store.forget(steps[key])
        for step in steps.values():  # the machine that planned may not see this store
            step.stage.accept(store.folder(step))
        total = job["total"]
        for key in job["pending"]:
            _build(store, steps[key], job["positions"][key], total)
    except FrameworkError as error:
        print(error, file=sys.stderr, flush=True)
        code = error.exit_code
        if message := os.environ.get(MESSAGE):
            Path(message).write_text(f"{error}\n", encoding="utf-8")
    if job["machines"] > 1:
        write_whole(over, str(code))
    return code


def _silence_libraries() -> None:
    """Keep libraries from printing over the progress lines; ``PYTHONWARNINGS`` brings warnings back."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
    for name in _NOISY:
        # A filter, because some libraries set their logger's level on import.
        logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.ERROR)


def _show_own_logs() -> None:
    """Print what the framework itself logs, such as a download that takes minutes."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    log = logging.getLogger("framework")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _build(store: Store, step: Step, position: int, total: int) -> None:
    print(f"[{position:2}/{total}] {step.label}", flush=True)
    # What libraries made when they were imported stays: each later collection would look at it again.
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    store.build(step, announce=lambda message: print(f"  {message}", flush=True))
    record = store.record(step) or {}
    peak = record.get("peak_memory_bytes", 0) / 2**30
    print(f"  done in {time.monotonic() - started:.1f} s, peak {peak:.1f} GiB", flush=True)


if __name__ == "__main__":
    _show_own_logs()
    sys.exit(main(Path(sys.argv[1])))
