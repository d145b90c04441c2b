"""Token by token: how the next one is drawn, and when an answer ends; one rule for every runtime.

onnxruntime-genai alone has a loop of its own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from framework.build.engine import Sampling

if TYPE_CHECKING:
    import numpy as np

Step: TypeAlias = "Callable[[np.ndarray], np.ndarray]"
"""Takes token ids (rows, new), the whole prompts at first and then what came after them, and returns the
logits (rows, vocabulary) of what follows; it keeps what it has seen."""


def decode(
    step: Step,
    prompt: Sequence[int],
    limit: int,
    ends: Collection[int],
    sampling: Sampling,
) -> Iterator[int]:
    """Yield the tokens that follow *prompt*, up to *limit* of them.

    Args:
        step: begun for one row.
        prompt: token ids.
        limit: most tokens to yield.
        ends: tokens that end the answer and are not yielded, unless ``sampling.past_end``.
        sampling: how a token is drawn.
    """
    import numpy as np

    source = np.random.default_rng(sampling.seed)
    fed = np.asarray([prompt], np.int64)
    for _ in range(limit):
        token = choose(step(fed)[0], sampling, source)
        if token in ends and not sampling.past_end:
            return
        yield token
        fed = np.asarray([[token]], np.int64)


def decode_together(step: Step, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
    """Yield the next token of each of the equally long *prompts*, greedily and past any end."""
    import numpy as np

    fed = np.asarray(prompts, np.int64)
    for _ in range(new_tokens):
        fed = step(fed).argmax(-1)[:, None].astype(np.int64)
        yield fed[:, 0].tolist()


def choose(scores: "np.ndarray", sampling: Sampling, source: "np.random.Generator") -> int:
    """Return the next token id for logits of shape (vocabulary,)."""
    import numpy as np

    if sampling.temperature == 0:
        return int(scores.argmax())
    warm = scores.astype(np.float64) / sampling.temperature
    shares = np.exp(warm - warm.max())
    shares /= shares.sum()
    ids = np.argsort(-shares, kind="stable")
    shares = shares[ids]
    # The token that crosses top_p still counts, so at least one is left.
    shares[shares.cumsum() - shares >= sampling.top_p] = 0
    reached = shares.cumsum()
    return int(ids[np.searchsorted(reached, source.random() * reached[-1], side="right")])
