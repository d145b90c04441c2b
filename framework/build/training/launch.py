"""Launch one training in several processes: ``python -m framework.build.training.launch tune.json``.

``train_in_ranks`` writes the job file and starts this module as a separate process, which is torchrun.
torchrun starts the ranks (``framework.build.training.rank``), monitors them and ends them together. Every
other machine runs the same command on the same file (``framework.build.training.join``). torchrun's
environment variables say which machine this is and where the first one is reached (``PET_NODE_RANK``,
``PET_MASTER_ADDR``, ``PET_MASTER_PORT``). Machines rendezvous again after each failure, so one may be
replaced, or dropped if the layout allows it.

Ranks run in sessions of their own, so no signal to the worker's process group reaches them. Their
standard input is a pipe from the worker instead, and they exit once it closes.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from framework.build.training import Training
from framework.build.training.rank_job import RANK_JOB, RankJob
from framework.build.training.run import TrainingRun
from framework.core import errors
from framework.core.errors import FrameworkError, StepError
from framework.core.machine_rank import MASTER, PORT, machine_rank
from framework.core.signals import describe_exit

FAILURE = "failure.json"
"""The first failure, beside the job file. Ours have ``kind`` and ``message``, others ``rank``, ``exit_code``
and ``log``."""
RANK_LOGS = "ranks"
"""The folder of the ranks' standard error, beside the job file; rank 0 writes to the terminal."""
LOST_PEER = 75
"""Exit code of a rank that lost a peer; not the root cause."""
_GRACE = 5.0
"""Seconds that torchrun has to exit after the ranks have ended or used up their time to save."""
_LOG_LINES = 12
_JOIN_TIMEOUT = 3600
"""Seconds that machines wait for each other: pulling an image or replacing a machine takes a while."""
_PORT = 29500
"""torchrun's own default."""


def train_in_ranks(training: Training, run: TrainingRun) -> None:
    """Do what ``training.fit(run)`` does, in ``run.parallelism.processes`` processes.

    Raises:
        FrameworkError: what a rank raised, or how it died.
    """
    scratch = run.folders.scratch
    file = scratch / RANK_JOB
    (scratch / FAILURE).unlink(missing_ok=True)
    RankJob.of(training, run).write(file)
    try:
        code = launch(file)
    finally:
        file.unlink(missing_ok=True)  # other machines stop joining
    if code:
        raise _read_failure(scratch, code)


def launch(file: Path) -> int:
    """Run this machine's ranks of the job in *file*, and end them if this process is interrupted.

    Returns:
        torchrun's exit code.

    Raises:
        FileNotFoundError: the job has ended.
    """
    job = RankJob.read(file)
    environment = dict(os.environ)
    threads = max(1, len(os.sched_getaffinity(0)) // job.local_processes)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    command = [sys.executable, "-P", "-m", "framework.build.training.launch", str(file)]
    agent = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    try:
        return agent.wait()
    finally:
        if agent.poll() is None:
            agent.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(job.grace + _GRACE)
            agent.kill()
            agent.wait()
        if agent.stdin is not None:
            agent.stdin.close()  # ends any rank that is left


def main(file: Path) -> int:
    """Run torchrun for this machine's ranks of the job in *file*; return the exit code."""
    # torchrun logs a failure three times before we report it. Some of its loggers read this on import.
    os.environ["LOGLEVEL"] = "CRITICAL"
    job = RankJob.read(file)
    # Several machines need a new store for each rendezvous: a machine that has just joined counts
    # attempts differently from the others.
    several = job.run.parallelism.nodes > 1
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1" if several else "0")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    import torch.distributed.run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    torchrun: Any = torch.distributed.run
    if machine_rank() == 0:
        (file.parent / FAILURE).unlink(missing_ok=True)
    try:
        torchrun.run(torchrun.parse_args(_torchrun_arguments(file)))
    except SignalException as error:
        return 128 + error.sigval  # the ranks have saved, or used up their time to
    except ChildFailedError as error:
        rank, first = min(
            error.failures.items(), key=lambda item: (item[1].exitcode == LOST_PEER, item[1].timestamp)
        )
        log = _log_tail(file.parent, rank)
        record_failure(file.parent, {"rank": rank, "exit_code": first.exitcode, "log": log})
        return 1
    return 0


def _torchrun_arguments(file: Path) -> list[str]:
    """Return torchrun's arguments for this machine."""
    job = RankJob.read(file)
    layout, local = job.run.parallelism, job.local_processes
    redirects = ",".join(f"{rank}:2" for rank in range(1, local)) or "0"
    arguments = [f"--nnodes={layout.least_nodes}:{layout.nodes}", f"--nproc-per-node={local}"]
    arguments += [f"--max-restarts={layout.restarts}", f"--shutdown-timeout={job.grace}"]
    arguments += [f"--log-dir={file.parent / RANK_LOGS}", f"--redirects={redirects}"]
    arguments += ["--rdzv-backend=c10d"]
    if layout.nodes == 1:
        # The machine's own name may not resolve, and no other machine may join.
        arguments += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    else:
        first = f"{os.environ[MASTER]}:{os.environ.get(PORT, _PORT)}"
        arguments += [f"--rdzv-endpoint={first}", f"--rdzv-id={file.parent.name[:12]}"]
        arguments += [f"--rdzv-conf=is_host={int(machine_rank() == 0)},join_timeout={_JOIN_TIMEOUT}"]
    return [*arguments, "-m", "framework.build.training.rank", str(file)]


def record_failure(scratch: Path, failure: dict[str, Any]) -> None:
    """Write *failure* for the worker to report, unless another rank was first."""
    own = scratch / f"{FAILURE}.{os.getpid()}"
    own.write_text(json.dumps(failure), encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(own, scratch / FAILURE)
    own.unlink()


def _read_failure(scratch: Path, code: int) -> FrameworkError:
    """Return the error to raise after torchrun exited with *code*."""
    resume = "rerun the same command to resume from the last checkpoint"
    try:
        failure = json.loads((scratch / FAILURE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return StepError(f"tune: torchrun {describe_exit(code)}; {resume}")
    if "message" in failure:
        kind = getattr(errors, failure["kind"], StepError)
        return (kind if issubclass(kind, FrameworkError) else StepError)(failure["message"])
    log = f":\n{failure['log']}" if failure["log"] else ""
    return StepError(f"tune: rank {failure['rank']} {describe_exit(failure['exit_code'])}; {resume}{log}")


def _log_tail(scratch: Path, rank: int) -> str:
    """Return the last lines that the rank wrote to standard error; "" if they went to the terminal."""
    logs = scratch.glob(f"{RANK_LOGS}/*/attempt_*/{rank}/stderr.log")
    newest = max(logs, key=lambda log: log.stat().st_mtime, default=None)
    if newest is None:
        return ""
    lines = newest.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
