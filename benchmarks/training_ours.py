"""Our side of ``benchmarks.training``: what the tune step does, on the floor's model and rows."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.training_floor import LEARNING_RATE, ROWS, report
from framework.model.tiny import TinyCausalLM
from framework.parallelism.single import Single
from framework.training import Folders
from framework.training.supervised import Supervised
from framework.tuning.lora import LoRA


def train(folder: Path) -> dict[str, float]:
    """Train one epoch; return what was measured."""
    from framework.training.batches import read_examples
    from framework.training.module import TuneModule

    started: list[float] = []
    step = TuneModule.optimizer_step

    def noted(self: TuneModule, *arguments: Any, **named: Any) -> None:
        step(self, *arguments, **named)
        if not started:
            started.append(time.process_time())

    TuneModule.optimizer_step = noted
    model = TinyCausalLM(name="benchmark", license="none", parameters=15e6)
    training = Supervised(learning_rate=LEARNING_RATE, micro_batch_size=ROWS, epochs=1)
    with tempfile.TemporaryDirectory() as name:
        output, scratch = Path(name, "output"), Path(name, "scratch")
        output.mkdir()
        scratch.mkdir()
        folders = Folders(folder / "model", folder / "data", output, scratch)
        training.fit(model, LoRA(rank=8, alpha=16), Single(), "cpu", folders, seed=0)
        log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    tokens = sum(len(ids) for ids, _ in read_examples(folder / "data" / "train.safetensors"))
    return report(tokens * (len(log) - 1) // len(log), started[0], [entry["loss"] for entry in log])


if __name__ == "__main__":
    print(json.dumps(train(Path(sys.argv[1]))))
