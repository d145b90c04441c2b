"""Several processes for one training run: ``python -m framework.build.training.launch tune.json``.

``train_in_ranks`` writes down all that ``Training.fit`` needs and starts this module as a process of
its own, which is torchrun: it starts the ranks (``framework.build.training.rank``), watches them and ends
them together. On further machines the same command is started with the same file
(``framework.build.training.join``); torchrun's environment says which machine this is and where the first
is reached (``PET_NODE_RANK``, ``PET_MASTER_ADDR``, ``PET_MASTER_PORT``). They meet anew after each
failure, so that a machine may be replaced, or left out where the layout allows it.

Ranks live in sessions of their own, so that no signal to the worker's group reaches them. They hold
the other end of a pipe as standard input instead: whoever loses it ends at once.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.tracking import Tracking
from framework.build.training import NO_TRACKING, Folders, Training
from framework.build.tuning import Tuning
from framework.core import errors
from framework.core.component import Component
from framework.core.errors import FrameworkError, StepError
from framework.core.filesystem import write_whole
from framework.core.machine_rank import MASTER, PORT, machine, run_name

ORDER = "tune.json"
FAILURE = "failure.json"
"""What went wrong first, beside the order: of our own errors ``kind`` and ``message``, of others ``rank``
and ``exit_code``."""
RANKS = "ranks"
"""The folder of the ranks' standard error, beside the order; rank 0 writes to the terminal."""
LOST = 75
"""What a rank exits with when it lost another: not the one to tell of."""
_GRACE = 5.0
"""Seconds that torchrun has to end by itself, once the ranks have ended or had their time to save."""
_LAST_LINES = 12
_MEETING_SECONDS = 3600
"""How long machines wait for one another: images may be pulled, and a lost one replaced."""
_PORT = 29500
"""torchrun's own default."""


def train_in_ranks(
    training: Training,
    model: Model,
    tuning: Tuning,
    parallelism: Parallelism,
    device: Device,
    folders: Folders,
    seed: int,
    tracking: Tracking = NO_TRACKING,
) -> None:
    """Do what ``training.fit`` does, in ``parallelism.processes`` processes.

    Raises:
        FrameworkError: what a rank raised, or how it died.
    """
    parts: dict[str, Component] = {
        "model": model,
        "tuning": tuning,
        "training": training,
        "parallelism": parallelism,
        "tracking": tracking,
    }
    order = {
        **{name: part.dump() for name, part in parts.items()},
        "plugins": sorted({_package(below) for part in parts.values() for below in part.walk()}),
        "device": device,
        "seed": seed,
        "folders": {name: str(path.resolve()) for name, path in asdict(folders).items() if path},
        "processes": parallelism.processes,
        "nodes": parallelism.nodes,
        "least_nodes": parallelism.least_nodes,
        "run": run_name(),
        "restarts": parallelism.restarts,
        "grace": math.ceil(training.grace_seconds),
    }
    file = folders.scratch / ORDER
    (folders.scratch / FAILURE).unlink(missing_ok=True)
    write_whole(file, json.dumps(order, indent=1, sort_keys=True))
    try:
        code = launch(file)
    finally:
        file.unlink(missing_ok=True)  # the sign to further machines that there is nothing to join
    if code:
        raise _failure(folders.scratch, code)


def _package(component: Component) -> str:
    return type(component).__module__.partition(".")[0]


def launch(file: Path) -> int:
    """Run this machine's ranks of the order in *file* to their end, or end them with us.

    Returns:
        torchrun's exit code.

    Raises:
        FileNotFoundError: the order is gone.
    """
    order = json.loads(file.read_text(encoding="utf-8"))
    local, grace = order["processes"] // order["nodes"], order["grace"] + _GRACE
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // local)))
    command = [sys.executable, "-P", "-m", "framework.build.training.launch", str(file)]
    agent = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    try:
        return agent.wait()
    finally:
        if agent.poll() is None:
            agent.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(grace)
            agent.kill()
            agent.wait()
        if agent.stdin is not None:
            agent.stdin.close()  # the ranks' sign to end, should any be left


def _failure(scratch: Path, code: int) -> FrameworkError:
    """Return what to tell the user about torchrun's end with *code*."""
    try:
        found = json.loads((scratch / FAILURE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        name = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return StepError(f"tune: torchrun was {name}; the same command goes on from the last checkpoint")
    if "message" in found:
        kind = getattr(errors, found["kind"], StepError)
        return kind(found["message"]) if issubclass(kind, FrameworkError) else StepError(found["message"])
    exit_code = found["exit_code"]
    how = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with {exit_code}"
    reason = " (the system ends what takes too much memory)" if exit_code == -signal.SIGKILL else ""
    said = f":\n{found['said']}" if found["said"] else ""
    return StepError(
        f"tune: rank {found['rank']} {how}{reason}; the same command goes on from the last checkpoint{said}"
    )


def main(file: Path) -> int:
    """Start the ranks of this machine for the order in *file* and wait for them; return the exit code."""
    import logging

    # torchrun tells of a failure in three ways before we do. Some of its logs read this as they are made.
    os.environ["LOGLEVEL"] = "CRITICAL"
    # A store of its own each time that machines meet: one that is new counts other attempts than the rest.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1" if _nodes(file) > 1 else "0")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    import torch.distributed.run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    torchrun: Any = torch.distributed.run
    if machine() == 0:
        (file.parent / FAILURE).unlink(missing_ok=True)
    try:
        torchrun.run(torchrun.parse_args(_arguments(file)))
    except SignalException as error:
        return 128 + error.sigval  # the ranks have saved, or had their time to
    except ChildFailedError as error:
        rank, first = min(
            error.failures.items(), key=lambda item: (item[1].exitcode == LOST, item[1].timestamp)
        )
        note(file.parent, {"rank": rank, "exit_code": first.exitcode, "said": _last_words(file.parent, rank)})
        return 1
    return 0


def _nodes(file: Path) -> int:
    return int(json.loads(file.read_text(encoding="utf-8"))["nodes"])


def _arguments(file: Path) -> list[str]:
    """Return torchrun's arguments for this machine."""
    order: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    local = order["processes"] // order["nodes"]
    quiet = ",".join(f"{rank}:2" for rank in range(1, local)) or "0"
    found = [f"--nnodes={order['least_nodes']}:{order['nodes']}", f"--nproc-per-node={local}"]
    found += [f"--max-restarts={order['restarts']}", f"--shutdown-timeout={order['grace']}"]
    found += [f"--log-dir={file.parent / RANKS}", f"--redirects={quiet}", "--rdzv-backend=c10d"]
    if order["nodes"] == 1:
        # The machine's own name may not resolve, and nobody else is to be let in.
        found += ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    else:
        first = f"{os.environ[MASTER]}:{os.environ.get(PORT, _PORT)}"
        found += [f"--rdzv-endpoint={first}", f"--rdzv-id={file.parent.name[:12]}"]
        found += [f"--rdzv-conf=is_host={int(machine() == 0)},join_timeout={_MEETING_SECONDS}"]
    return [*found, "-m", "framework.build.training.rank", str(file)]


def note(scratch: Path, failure: dict[str, Any]) -> None:
    """Write down *failure*, unless another was first."""
    own = scratch / f"{FAILURE}.{os.getpid()}"
    own.write_text(json.dumps(failure), encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(own, scratch / FAILURE)
    own.unlink()


def _last_words(scratch: Path, rank: int) -> str:
    """Return the last lines that the rank wrote to standard error, where they went to a file."""
    found = sorted(
        scratch.glob(f"{RANKS}/*/attempt_*/{rank}/stderr.log"), key=lambda log: log.stat().st_mtime
    )
    text = found[-1].read_text(encoding="utf-8", errors="replace") if found else ""
    return "\n".join(text.splitlines()[-_LAST_LINES:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
