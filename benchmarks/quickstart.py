"""The whole quickstart from nothing: overhead, peak memory, and what the export gains.

Takes minutes, and downloads the model once.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import RUN, artifacts, bare_hydra, build, compared

_GIB = 2**30


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield figures of one build, then of the run after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
    yield "eager / int4 decode seconds", 1 / decode, 1 / 3
    yield "exact match, base", metrics["base.exact_match"], None
    yield "exact match, tuned", metrics["tuned.exact_match"], None
    yield "exact match, int4", metrics["int4.exact_match"], None
