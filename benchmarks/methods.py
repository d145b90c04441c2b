"""Every tuning method on the same rows and steps: ``recipes/methods/sentiment-*``, one after another.

Takes most of an hour. All share one store, so that common steps are built once.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import artifacts, build

_RECIPES = Path(__file__).parents[1] / "recipes" / "methods"
_MIB = 2**20


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the accuracy and the cost of each method."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seen: set[str] = set()
        # The first recipe also builds the shared steps.
        for recipe in sorted(
            _RECIPES.glob("sentiment-*.yaml"), key=lambda file: ("full" not in file.stem, file.stem)
        ):
            name = recipe.stem.removeprefix("sentiment-")
            build(f"methods/{recipe.stem}", folder)
            lock = folder / "environments" / "dev" / recipe.stem / "release.lock"
            metrics = json.loads(lock.read_text(encoding="utf-8"))["metrics"]
            new = [record for record in artifacts(folder) if record["key"] not in seen]
            seen |= {record["key"] for record in new}
            (tune,) = (record for record in new if record["label"] == "tune")
            files = folder.glob(f".gitune/store/tune/{tune['key']}/*.safetensors")
            saved = sum(file.stat().st_size for file in files)
            yield f"{name}: accuracy, percent", 100 * metrics["tuned.accuracy"], None
            yield f"{name}: what is saved, MiB", saved / _MIB, None
            yield f"{name}: training, CPU seconds", tune["cpu_seconds"], None
            yield f"{name}: peak memory, MiB", tune["peak_memory_bytes"] / _MIB, None
