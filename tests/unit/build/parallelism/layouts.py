"""Train in several layouts from one process with all imports done: ``layouts.py order.json``.

Each started rank would need seconds for imports; forked ranks need none. The tests of
``framework.build.training.launch`` start ranks for real. Each case of the order is trained in one process
and in its layout; the differences are written beside the order.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

import framework.build.training.trainer  # noqa: F401  imported before ranks are forked
from framework.build.model.tiny import TinyCausalLM
from framework.build.parallelism import Parallelism
from framework.build.parallelism.single import Single
from framework.build.training import rank
from framework.build.training.callbacks import DataPosition
from framework.build.training.run import Folders, TrainingRun
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning
from framework.core.paths import SHARE

SECONDS = 240
MODEL = TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)


def option(group: str, name: str, **fields: Any) -> Any:
    base = {"parallelism": Parallelism, "tuning": Tuning}[group]
    content = yaml.safe_load((SHARE / "conf" / group / f"{name}.yaml").read_text())
    return base.model_validate({**content, **fields})


def fork_ranks(layout: Parallelism, work: Callable[[], None]) -> bool:
    """Run *work* in every rank of *layout*; return whether all succeeded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [fork_one(number, layout, port, work) for number in range(layout.processes)]
    codes: dict[int, int] = {}
    deadline = time.monotonic() + SECONDS
    while len(codes) < len(children):
        for child in set(children) - set(codes):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
        if any(codes.values()) or time.monotonic() > deadline:
            for child in set(children) - set(codes):
                os.kill(child, 9)
        time.sleep(0.02)
    return not any(codes.values())


def fork_one(number: int, layout: Parallelism, port: int, work: Callable[[], None]) -> int:
    if child := os.fork():
        return child
    size = str(layout.processes)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "GROUP_RANK": "0"}
    os.environ |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": "0"}
    code = 1
    try:
        rank.connect("cpu")
        work()
        rank.disconnect()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def train(
    layout: Parallelism, tuning: Tuning, training: dict[str, Any], order: dict[str, Any], folder: Path
) -> None:
    output, scratch = folder / "output", folder / "scratch"
    output.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    folders = Folders(model=order["base"], data=order["data"], output=output, scratch=scratch)
    run = TrainingRun(model=MODEL, tuning=tuning, parallelism=layout, device="cpu", folders=folders, seed=0)
    base = {"learning_rate": 3e-3, "precision": "fp32", "max_steps": 20, "epochs": 50}
    option = Supervised.model_validate({**base, "checkpoint_every_steps": 5, **training})

    def work() -> None:
        option.fit(run)

    if not layout.launched:
        work()
    elif not fork_ranks(layout, work):
        raise SystemExit(f"{folder.name} failed")


def train_until_killed(step: int, *arguments: Any) -> None:
    """Train like ``train``, and exit abruptly after *step*, once the checkpoint is written."""
    counted = DataPosition.on_train_batch_end

    def die(self: DataPosition, trainer: Any, *others: Any) -> None:
        counted(self, trainer, *others)
        if trainer.global_step == step:
            for callback in trainer.callbacks:
                if hasattr(callback, "files"):
                    callback.files.wait()
            trainer.strategy.barrier()
            os._exit(9)

    DataPosition.on_train_batch_end = die  # type: ignore[method-assign]
    try:
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            train(*arguments)
    except SystemExit:
        os._exit(9)
    finally:
        DataPosition.on_train_batch_end = counted  # type: ignore[method-assign]


def compare(name: str, case: dict[str, Any], order: dict[str, Any], root: Path) -> dict[str, Any]:
    layout = option("parallelism", case["layout"], **case.get("options", {}))
    tuning = option("tuning", case["tuning"], **case.get("tuning_options", {}))
    training = {"micro_batch_size": 4, **case.get("training", {})}
    rows = training["micro_batch_size"] * layout.data_parallel
    alone, together = root / f"{name}-alone", root / name
    train(Single(), tuning, {**training, "micro_batch_size": rows}, order, alone)
    killed = together
    if before := case.get("killed_in"):
        if before.get("elsewhere"):
            killed = root / f"{name}-before"
        first = option("parallelism", before["layout"], **before.get("options", {}))
        theirs = {**training, **before.get("training", {})}
        train_until_killed(12, first, tuning, theirs, order, killed)
        if [file.name for file in sorted((killed / "scratch").glob("*.ckpt"))][-1:] != [
            "step-000000010.ckpt"
        ]:
            raise SystemExit(f"{name}: there is no checkpoint to resume from")
        if killed != together:
            training["resume_from"] = str(killed / "scratch" / "step-000000010.ckpt")
    train(layout, tuning, training, order, together)
    logs = [
        [json.loads(line) for line in (folder / "output" / "log.jsonl").read_text().splitlines()]
        for folder in (alone, together)
    ]
    (file,) = (alone / "output").glob("*.safetensors")
    weights = [load_file(folder / "output" / file.name) for folder in (alone, together)]
    same_names = set(weights[0]) == set(weights[1])
    return {
        "steps": [entry["step"] for entry in logs[1]],
        "first": logs[1][0]["loss"],
        "last": logs[1][-1]["loss"],
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in zip(*logs, strict=True)),
        "weights": max(float((weights[0][key] - weights[1][key]).abs().max()) for key in weights[0])
        if same_names
        else None,
        "files": [
            sorted(path.name for path in (folder / "output").iterdir()) for folder in (alone, together)
        ],
        "configs": [
            [path.read_text() for path in sorted((folder / "output").glob("*config.json"))]
            for folder in (alone, together)
        ],
    }


def main(file: Path) -> None:
    torch.set_num_threads(1)
    order = json.loads(file.read_text())
    results = {name: compare(name, case, order, file.parent) for name, case in order["cases"].items()}
    (file.parent / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
