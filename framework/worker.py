"""The process that does the work: ``python -m framework.worker step.json``.

It knows a list of steps and a store, never Hydra. Where standard input is a pipe, the runner holds
the other end, and losing it is the sign that the runner is gone: then the worker ends at once.
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
from typing import Any

from framework.core.errors import FrameworkError, StepError
from framework.core.step import Stage, Step
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
    """Build every step of the job in *file*; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides, and sends SIGTERM
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _quieten()
    try:
        job = json.loads(file.read_text(encoding="utf-8"))
        store = Store(Path(job["store"]))
        steps = read_steps(job)
        total = job["total"]
        for key in job["pending"]:
            _build(store, steps[key], job["positions"][key], total)
    except FrameworkError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 0


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


def write_job(steps: tuple[Step, ...], pending: list[Step], store: Path, plugins: tuple[str, ...]) -> str:
    """Return the text of a job: every step by key, and the keys that are to be built."""
    job = {
        "store": str(store.resolve()),
        "plugins": list(plugins),
        "total": len(steps),
        "positions": {step.key: number for number, step in enumerate(steps, 1)},
        "pending": [step.key for step in pending],
        "steps": [
            {
                "key": step.key,
                "label": step.label,
                "stage": step.stage.dump(),
                "needs": {slot: need.key for slot, need in step.needs.items()},
            }
            for step in steps
        ],
    }
    return json.dumps(job, indent=1, sort_keys=True)


def read_steps(job: dict[str, Any]) -> dict[str, Step]:
    """Return the job's steps by key.

    Raises:
        StepError: a step has another key than when it was planned.
    """
    steps: dict[str, Step] = {}
    context = {"plugins": tuple(job["plugins"])}
    for entry in job["steps"]:
        stage = Stage.model_validate(entry["stage"], context=context)
        step = Step(entry["label"], stage, {slot: steps[key] for slot, key in entry["needs"].items()})
        if step.key != entry["key"]:
            raise StepError(
                f"{step.label}: a file or a library changed after the plan was made; "
                "type the same command again"
            )
        steps[step.key] = step
    return steps


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
