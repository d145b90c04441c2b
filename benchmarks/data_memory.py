"""Memory of the data stages and of opening their rows: 200,000 rows over 10,000.

Each figure is the peak resident memory of a process that does one thing: read a file, mix, clean, encode,
open for training, or iterate as an evaluation does. Python and the libraries are in both halves of a ratio.
A row is a conversation of some 200 byte-level tokens. Mixing keeps an index of 50 bytes per row.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import environment

_FEW, _MANY = 10_000, 200_000
BOUNDS = {"read": 1.1, "mix": 1.3, "exact": 1.6, "near": 3.0, "encode": 1.1, "open": 1.15, "evaluate": 1.15}


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the peak memory with many rows over that with few, of each kind of work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _peak("model", folder, 0)
        for work, bound in BOUNDS.items():
            few, many = (_peak(work, folder, rows) for rows in (_FEW, _MANY))
            yield f"{work}: peak MiB with {_FEW} rows", few / 2**20, None
            yield f"{work}: peak memory, {_MANY} rows / {_FEW}", many / few, bound


def _peak(work: str, folder: Path, rows: int) -> float:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.data_memory", work, str(folder), str(rows)]
    environ = {**environment(), "OMP_NUM_THREADS": "1", "GITUNE_CACHE": str(folder / "cache")}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True, env=environ)
    return float(done.stdout.splitlines()[-1])


def _work(work: str, folder: Path, count: int) -> None:
    from framework.build.clean.exact import Exact
    from framework.build.clean.near import Near
    from framework.build.data.files import Files
    from framework.build.data.mix import Mix, Part
    from framework.build.model.tiny import TinyCausalLM
    from framework.build.stages.clean import CleanRows
    from framework.build.stages.encode import EncodeRows
    from framework.build.stages.read import ReadRows
    from framework.build.task import open_task
    from framework.build.training.batches import Batches, read_examples
    from framework.core.step import Workspace

    model = TinyCausalLM(name="tiny", license="none", parameters=1e5)
    rows, encoded = folder / f"rows-{count}", folder / f"encoded-{count}"
    files = Files(train=_written(folder, count), test=_written(folder, 100), max_overlap=1.0)
    if work == "model":
        (folder / "model").mkdir()
        model.materialize(folder / "model", seed=0)
    elif work == "read":
        rows.mkdir()
        ReadRows.of(files).run({}, rows, Workspace(rows))
    elif work == "mix":
        mixed = folder / f"mixed-{count}"
        mixed.mkdir()
        ReadRows.of(Mix(parts={"all": Part(data=files)})).run({}, mixed, Workspace(mixed))
    elif work in ("exact", "near"):
        cleaned, option = folder / f"{work}-{count}", Exact() if work == "exact" else Near()
        cleaned.mkdir()
        CleanRows.of(work, option, model).run({"rows": rows}, cleaned, Workspace(cleaned))
    elif work == "encode":
        encoded.mkdir()
        inputs = {"rows": rows, "model": folder / "model"}
        EncodeRows.of(files, model).run(inputs, encoded, Workspace(encoded))
    elif work == "open":
        examples = read_examples(encoded / "train")
        batches = Batches(examples, open_task("causal-lm"), 8, 1, seed=0)
        for step in range(0, count // 8, 10):
            batches.at(step)
    elif work == "evaluate":
        for _ in read_examples(encoded / "train")[:]:
            pass


def _written(folder: Path, count: int) -> str:
    """Write *count* rows once; return the path."""
    file = folder / f"{count}.jsonl"
    if not file.exists():
        with file.open("w") as stream:
            for number in range(count):
                messages = [
                    {"role": "user", "content": f"What follows {number}? " * 5},
                    {"role": "assistant", "content": f"{number + 1} follows. " * 4},
                ]
                stream.write(json.dumps({"messages": messages}) + "\n")
    return str(file)


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
