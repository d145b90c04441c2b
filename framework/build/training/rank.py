"""One process of a distributed training: ``python -m framework.build.training.rank tune.json``.

torchrun starts it; see ``framework.build.training.launch``. It reads its rank from torchrun's environment
variables and everything else from the job file.
"""

import errno
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from framework.build.training.launch import FAILURE, LOST_PEER, record_failure
from framework.build.training.rank_job import RankJob
from framework.core.errors import FrameworkError, StoreError
from framework.core.parent_watch import exit_with_parent


def main(file: Path) -> int:
    """Train the job in *file* together with the other ranks; return the exit code."""
    exit_with_parent()
    if "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        logging.getLogger("torch.distributed.tensor").setLevel(logging.ERROR)  # performance advice
    if (file.parent / FAILURE).exists():
        return 1  # torchrun restarts after any failure; an error of ours would only repeat
    job = RankJob.read(file)
    _report_restart(job)
    try:
        _train(job)
    except FrameworkError as error:
        record_failure(file.parent, {"kind": type(error).__name__, "message": str(error)})
        return 1
    except SystemExit as stopped:
        # All ranks have saved. Destroying the process group could wait for one that has already left.
        sys.stderr.flush()
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        problem = f"{error.filename or file.parent}: cannot write a checkpoint: {error.strerror}"
        message = f"{problem}; free space there, or set store=<another folder>"
        record_failure(file.parent, {"kind": StoreError.__name__, "message": message})
        return 1
    except RuntimeError as error:
        if not _lost_peer(error):
            raise
        return LOST_PEER
    return 0


def _report_restart(job: RankJob) -> None:
    """Report a restart, or that training continues on fewer machines; rank 0 only."""
    if os.environ["RANK"] != "0":
        return
    layout = job.run.parallelism
    if attempt := int(os.environ["TORCHELASTIC_RESTART_COUNT"]):
        line = f"  a rank died; restarting all from the last checkpoint ({attempt} of {layout.restarts})"
        print(line, file=sys.stderr, flush=True)
    if (machines := _machines(job)) != layout.nodes:
        print(f"  training on {machines} of {layout.nodes} machines", file=sys.stderr, flush=True)


def _machines(job: RankJob) -> int:
    """Return how many machines train now; fewer than configured if the layout allows that."""
    return int(os.environ["WORLD_SIZE"]) // job.local_processes


def _lost_peer(error: RuntimeError) -> bool:
    """Return whether gloo or NCCL raised *error* because another rank died."""
    import torch

    text = str(error)
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "Connection closed" in text


def _train(job: RankJob) -> None:
    run = job.run
    if run.device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # keeps DeepSpeed from probing and logging others
    connect(run.device)
    layout = run.parallelism.on_machines(_machines(job))
    job.training.fit(run.model_copy(update={"parallelism": layout}))
    disconnect()


def connect(device: str) -> None:
    """Join the process group of all ranks.

    The store's keys include torchrun's restart count. Otherwise a restarted group would read the keys of
    the one that died. Several machines get a new store for each attempt instead, because a machine that
    has just joined has another count.
    """
    import torch

    distributed: Any = torch.distributed
    number, shared = int(os.environ["RANK"]), os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"] if shared else ""
    server = distributed.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not shared and number == 0,
    )
    local: dict[str, Any] = {}
    if device == "cuda":
        gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(gpu)
        local["device_id"] = gpu
    distributed.init_process_group(
        # A GPU needs both backends: gloo gathers what is kept on the CPU.
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=distributed.PrefixStore(f"attempt{attempt}", server),
        rank=number,
        world_size=int(os.environ["WORLD_SIZE"]),
        **local,
    )


def disconnect() -> None:
    """Leave the process group once all ranks are done; leaving early would break their connections."""
    from torch import distributed

    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
