"""The decoding loop: how the next token is drawn, and when an answer ends.

Every runtime uses it except onnxruntime-genai, which has its own loop.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from framework.build.engine import Sampling

if TYPE_CHECKING:
    import numpy as np

Step: TypeAlias = "Callable[[np.ndarray], np.ndarray]"
"""Takes token ids (rows, new): the prompts first, then the tokens drawn. Returns the logits of the next
token, (rows, vocabulary). It remembers the tokens of earlier calls."""


def decode(
    step: Step,
    prompt: Sequence[int],
    limit: int,
    ends: Collection[int],
    sampling: Sampling,
) -> Iterator[int]:
    """Yield the tokens that follow *prompt*, up to *limit* of them.

    Args:
        step: a new step function for one row.
        prompt: token ids.
        limit: most tokens to yield.
        ends: tokens that end the answer; they are not yielded, unless ``sampling.past_end``.
        sampling: how a token is drawn.
    """
    import numpy as np

    random = np.random.default_rng(sampling.seed)
    ids = np.asarray([prompt], np.int64)
    for _ in range(limit):
        token = choose(step(ids)[0], sampling, random)
        if token in ends and not sampling.past_end:
            return
        yield token
        ids = np.asarray([[token]], np.int64)


def decode_together(step: Step, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
    """Yield the next token of every prompt, greedily, ignoring end tokens; prompts have one length."""
    import numpy as np

    ids = np.asarray(prompts, np.int64)
    for _ in range(new_tokens):
        ids = step(ids).argmax(-1)[:, None].astype(np.int64)
        yield ids[:, 0].tolist()


def choose(scores: "np.ndarray", sampling: Sampling, random: "np.random.Generator") -> int:
    """Return the next token id for logits of shape (vocabulary,)."""
    import numpy as np

    if sampling.temperature == 0:
        return int(scores.argmax())
    scaled = scores.astype(np.float64) / sampling.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    ids = np.argsort(-probabilities, kind="stable")
    probabilities = probabilities[ids]
    # The token that crosses top_p is kept, so at least one remains.
    probabilities[probabilities.cumsum() - probabilities >= sampling.top_p] = 0
    cumulative = probabilities.cumsum()
    return int(ids[np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")])
