"""Our side of ``benchmarks.training`` and ``benchmarks.choices``: the tune stage without a plan."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.training_floor import LEARNING_RATE, ROWS, report
from framework.build.model.tiny import TinyCausalLM
from framework.build.stages.tune import Tune
from framework.core.step import Workspace

_LORA = {"_target_": "framework.build.tuning.lora.LoRA", "rank": 8, "alpha": 16}
_SINGLE = {"_target_": "framework.build.parallelism.single.Single"}


def train(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Train one epoch with *options* per group; return the measurements."""
    from framework.build.training.batches import read_examples
    from framework.build.training.module import TuneModule

    started: list[float] = []
    step = TuneModule.optimizer_step

    def record_start(self: TuneModule, *arguments: Any, **named: Any) -> None:
        step(self, *arguments, **named)
        if not started:
            started.append(time.process_time())

    TuneModule.optimizer_step = record_start
    with tempfile.TemporaryDirectory() as name:
        output, scratch = Path(name, "output"), Path(name, "scratch")
        output.mkdir()
        scratch.mkdir()
        inputs = {"model": folder / "model", "data": folder / "data"}
        _stage(options).run(inputs, output, Workspace(scratch))
        log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    tokens = sum(len(ids) for ids, _ in read_examples(folder / "data" / "train"))
    # Ranks are separate processes; only the total CPU seconds include them.
    start = started[0] if started else 0.0
    measured = report(tokens * (len(log) - 1) // len(log), start, [entry["loss"] for entry in log])
    ranks = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {**measured, "peak": measured["peak"] if started else ranks}


def _stage(options: dict[str, Any]) -> Tune:
    training = {"learning_rate": LEARNING_RATE, "micro_batch_size": ROWS, "epochs": 1}
    return Tune.model_validate(
        {
            "model": TinyCausalLM(name="benchmark", license="none", parameters=15e6).dump(),
            "tuning": options.get("tuning", _LORA),
            "training": {
                "_target_": "framework.build.training.supervised.Supervised",
                **training,
                **options.get("training", {}),
            },
            "parallelism": options.get("parallelism", _SINGLE),
            "device": "cpu",
            "seed": 0,
        }
    )


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]), json.loads(sys.argv[2]))))
