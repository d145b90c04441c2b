"""Time of composing every recipe in one process, relative to Hydra's own loader."""

import time
from collections.abc import Callable, Iterator, Sequence

from framework.config.compose_config import composed, composed_by_hydra
from framework.config.composition import Composition
from framework.config.options import GROUP, options
from framework.config.read_recipe import listed

_ROUNDS = 5


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the CPU seconds for all recipes with one override, relative to Hydra's."""
    recipes = [name for name in options(GROUP) if not listed(name)]
    words = [(f"+{GROUP}={name}", f"seed={number}") for number, name in enumerate(recipes)]
    rounds = [(_seconds(composed, words), _seconds(composed_by_hydra, words)) for _ in range(_ROUNDS)]
    ours, hydra = (min(times) for times in zip(*rounds, strict=True))
    yield "every recipe in process / by Hydra", ours / hydra, 0.083


def _seconds(compose: Callable[[Sequence[str]], Composition], configs: Sequence[Sequence[str]]) -> float:
    start = time.process_time()
    for words in configs:
        compose(words)
    return time.process_time() - start
