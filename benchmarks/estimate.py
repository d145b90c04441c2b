"""How far the plan's estimates are from what was measured, for every step of two recipes.

Builds both recipes from nothing, which takes minutes. A factor of 1 is exact; 2 means twice
or half.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.process import RUN, artifacts, build, environment

RECIPES = ("tiny", "quickstart")


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the factor for the plan's whole time, and the worst factor of a step's memory."""
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planned = _planned(recipe, folder)
            build(recipe, folder)
            records = artifacts(folder)
        measured = {r["label"]: (r["seconds"], r["peak_memory_bytes"] / 2**30) for r in records}
        total, expected = sum(m[0] for m in measured.values()), sum(planned[label][0] for label in measured)
        memory = [_factor(planned[label][1], measured[label][1]) for label in measured]
        yield f"{recipe}: expected / measured seconds of the plan", expected / total, None
        yield f"{recipe}: factor off in a step's memory, median", median(memory), None
        yield f"{recipe}: factor off in a step's memory, worst", max(memory), None


def _planned(recipe: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Return expected seconds and GiB by step, read from what ``run plan`` prints."""
    done = subprocess.run(
        [*RUN, "plan", f"+recipe={recipe}"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    found = {}
    for line in done.stdout.splitlines():
        if "~" in line:
            label, _, rest = line.partition(" run ")
            words = rest.split()
            found[label.strip()] = (float(words[-4].lstrip("~")), float(words[-2].lstrip("~")))
    return found


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)
