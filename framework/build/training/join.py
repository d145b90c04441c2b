"""Join the trainings of a job from every machine except the first.

All machines share the store's disk. The first machine writes a job file for the ranks (``tune.json``, in
the step's scratch folder) and removes it when that training ends. This module joins whichever of these
trainings is running; it knows no other work of the first machine.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from framework.build.training.launch import launch
from framework.build.training.rank_job import RANK_JOB
from framework.core.machine_rank import run_name

_POLL_SECONDS = 1.0


def join(store: Path, keys: Sequence[str], over: Path) -> int:
    """Take part in every training of the steps *keys*, until the first machine reports the end.

    Args:
        store: the root of the artifact store, on the shared disk.
        keys: the steps that the first machine builds.
        over: the file that the first machine writes its exit code to, at the end.

    Returns:
        The first machine's exit code.
    """
    print("joining the first machine's trainings", flush=True)
    done: dict[Path, int] = {}
    while not over.exists():
        for job, written in _rank_jobs(store, keys):
            if done.get(job) == written:
                continue
            print(f"  joining {job.parent.name[:12]}", flush=True)
            try:
                code = launch(job)
            except FileNotFoundError:
                continue
            if code == 0:
                done[job] = written  # the file remains until the first machine's ranks have ended too
        time.sleep(_POLL_SECONDS)
    return int(over.read_text(encoding="utf-8"))


def _rank_jobs(store: Path, keys: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the job files of this run, each with its modification time in nanoseconds."""
    jobs = []
    for key in keys:
        job = store / "scratch" / key / RANK_JOB
        try:
            if json.loads(job.read_text(encoding="utf-8"))["run_name"] == run_name():
                jobs.append((job, job.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return jobs
