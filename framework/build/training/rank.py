"""One of several processes that train together: ``python -m framework.build.training.rank tune.json``.

torchrun starts it, see ``framework.build.training.launch``. It knows its number from the environment, all
else from the file.
"""

import errno
import json
import logging
import os
import signal
import stat
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.tracking import Tracking
from framework.build.training import Folders, Training
from framework.build.training.launch import FAILURE, LOST, note
from framework.build.tuning import Tuning
from framework.core.errors import FrameworkError


def main(file: Path) -> int:
    """Train as the order in *file* says, together with the other ranks; return the exit code."""
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    if "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        logging.getLogger("torch.distributed.tensor").setLevel(logging.ERROR)  # advice on speed
    if (file.parent / FAILURE).exists():
        return 1  # torchrun starts us again after any failure, but this one would only come again
    order = json.loads(file.read_text(encoding="utf-8"))
    _tell_of_restart(order)
    try:
        _train(order)
    except FrameworkError as error:
        note(file.parent, {"kind": type(error).__name__, "message": str(error)})
        return 1
    except SystemExit as stopped:
        # All have saved. Taking the group down could wait for one that has left already.
        sys.stderr.flush()
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename or file.parent}: cannot write a checkpoint: {error.strerror}"
        mend = "free space there, or set store=<another folder>"
        note(file.parent, {"kind": "StoreError", "message": f"{where}; {mend}"})
        return 1
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        return LOST
    return 0


def _tell_of_restart(order: dict[str, Any]) -> None:
    attempt, most = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), order["restarts"]
    if os.environ["RANK"] != "0":
        return
    if attempt:
        line = f"  a rank died; all start again from the last checkpoint ({attempt} of at most {most} times)"
        print(line, file=sys.stderr, flush=True)
    if (machines := _machines(order)) != order["nodes"]:
        print(f"  training on {machines} of {order['nodes']} machines", file=sys.stderr, flush=True)


def _machines(order: dict[str, Any]) -> int:
    """Return how many machines train now: as many as the order says, or fewer where it allows that."""
    return int(os.environ["WORLD_SIZE"]) * int(order["nodes"]) // int(order["processes"])


def _lost_another(error: RuntimeError) -> bool:
    """Tell whether *error* is what gloo and NCCL raise in those that wait for a rank that died."""
    import torch

    text = str(error)
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "Connection closed" in text


def _train(order: dict[str, Any]) -> None:
    context = {"plugins": tuple(order["plugins"])}
    training = Training.model_validate(order["training"], context=context)
    folders = Folders(**{name: Path(path) for name, path in order["folders"].items()})
    if order["device"] == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed would look for others, and tell of it
    connect(order["device"])
    training.fit(
        Model.model_validate(order["model"], context=context),
        Tuning.model_validate(order["tuning"], context=context),
        Parallelism.model_validate(order["parallelism"], context=context).on_machines(_machines(order)),
        order["device"],
        folders,
        order["seed"],
        Tracking.model_validate(order["tracking"], context=context),
    )
    disconnect()


def connect(device: str) -> None:
    """Join the other ranks.

    The store's keys carry torchrun's restart count: a group that is started again would else find
    those of the one that died. Several machines get another store each time instead, since one that has
    just come counts otherwise.
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
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
        local["device_id"] = place
    distributed.init_process_group(
        # Two backends on a GPU: what is kept on the CPU is gathered by gloo.
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=distributed.PrefixStore(f"attempt{attempt}", server),
        rank=number,
        world_size=int(os.environ["WORLD_SIZE"]),
        **local,
    )


def disconnect() -> None:
    """Leave once all are done: who goes early takes the others' connections along."""
    from torch import distributed

    distributed.barrier()
    distributed.destroy_process_group()


def _die_with_launcher() -> None:
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return  # torchrun was started by hand or by a cluster
    while os.read(0, 4096):
        continue
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with all that we started, such as a compiler
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
