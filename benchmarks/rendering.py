"""Rendering time, relative to dumping the same objects with PyYAML's C dumper.

One process renders a thousand releases, as the CI of a monorepo would. Our side starts from the records and
ends with the text of every file; the floor gets the finished objects.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from framework.config.schema import BASES
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.delivery.deployment import Delivery
from framework.render import render

RELEASES = 1000
PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
LOCK = Path(__file__).parents[1] / "tests" / "golden" / "tiny.lock"


def option(group: str, name: str, **changed: Any) -> Any:
    """Return an option with the fields of its YAML file, updated by *changed*."""
    fields = yaml.safe_load((SHARE / "conf" / group / f"{name}.yaml").read_text())
    return BASES[group].model_validate({**fields, **changed})


def releases() -> list[Release]:
    """Return a thousand releases with different names, digests and metrics."""
    first = Release.read(LOCK)
    result = []
    for number in range(RELEASES):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        changes = {
            "name": f"{first.name}-{number}",
            "digest": f"sha256:{digest}",
            "plan": digest,
            "model_uri": f"s3://models/{digest}",
            "metrics": {name: value + number / 1e6 for name, value in first.metrics.items()},
        }
        result.append(first.model_copy(update=changes))
    return result


def least_seconds(work: dict[str, Callable[[], object]], times: int = 3) -> dict[str, float]:
    """Return the minimum CPU seconds of each callable, measured in turn."""
    seconds: dict[str, float] = {}
    for _ in range(times):
        for name, do in work.items():
            started = time.process_time()
            do()
            taken = time.process_time() - started
            seconds[name] = min(taken, seconds.get(name, taken))
    return seconds


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield our CPU seconds relative to the floor's, for a rolling update."""
    delivery = Delivery(
        serving=option("serving", "http"),
        environment=option("environment", "production"),
        rollout=option("rollout", "rolling"),
        autoscaling=option("autoscaling", "hpa"),
        traffic=option("traffic", "none"),
        monitoring=option("monitoring", "none"),
        secrets=option("secrets", "none"),
    )
    target = option("deployment", "kubernetes", image=PINNED)
    every = releases()
    objects = [item for release in every for item in target.files(release, delivery).values()]

    def ours() -> None:
        for release in every:
            render(release, target, delivery)

    def floor() -> None:
        for item in objects:
            yaml.dump(item, Dumper=yaml.CSafeDumper)

    seconds = least_seconds({"ours": ours, "floor": floor})
    yield f"{RELEASES} releases rendered / their objects dumped in C", seconds["ours"] / seconds["floor"], 2.0
