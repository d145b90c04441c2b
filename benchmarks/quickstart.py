"""The quickstart from scratch: overhead, memory, speed-up of the export, accuracy of the plan's estimates.

Takes minutes, and downloads the model once.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.process import RUN, artifacts, bare_hydra, build, compared, environment

_GIB = 2**30


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield figures of one build, its plan, and a second run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = _planned(folder)
        wall = build("quickstart", folder)
        records = artifacts(folder)
        release = json.loads((folder / "environments/dev/quickstart/release.lock").read_text())
        commands = {"floor": bare_hydra(folder), "again": [*RUN, "+recipe=quickstart"]}
        seconds = compared(commands, folder, times=5)
    metrics = release["metrics"]
    inside = sum(record["seconds"] for record in records)
    decode = metrics["int4.decode_tokens_per_second"] / metrics["tuned.decode_tokens_per_second"]
    yield "wall minutes", wall / 60, None
    yield "overhead: wall time outside stages, percent", 100 * (wall - inside) / wall, 5.0
    yield "peak memory of any step, GiB", max(r["peak_memory_bytes"] for r in records) / _GIB, 4.0
    yield "second run / bare Hydra --help", seconds["again"] / seconds["floor"], 3.0
    yield "int4 / eager, milliseconds a decoded token", 1 / decode, 1 / 3
    yield "exact match, base", metrics["base.exact_match"], None
    yield "exact match, tuned", metrics["tuned.exact_match"], None
    yield "exact match, int4", metrics["int4.exact_match"], None
    yield "plan: expected / measured seconds", sum(p[0] for p in planned.values()) / inside, None
    off = [_factor(planned[r["label"]][1], r["peak_memory_bytes"] / _GIB) for r in records]
    yield "plan: factor off in a step's memory, median", median(off), None
    yield "plan: factor off in a step's memory, worst", max(off), None


def _planned(folder: Path) -> dict[str, tuple[float, float]]:
    """Return the estimated seconds and GiB of each step, parsed from the output of ``run plan``."""
    command = [*RUN, "plan", "+recipe=quickstart"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment())
    estimates = {}
    for line in done.stdout.splitlines():
        if "~" in line:
            label, _, rest = line.partition(" run ")
            words = rest.split()
            estimates[label.strip()] = (float(words[-4].lstrip("~")), float(words[-2].lstrip("~")))
    return estimates


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)
