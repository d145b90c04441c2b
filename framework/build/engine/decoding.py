"""The decoding loop: how the next token is drawn, and when an answer ends.

Every runtime uses it except onnxruntime-genai, which has its own loop.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from framework.build.engine.guidance import Guide
from framework.build.engine.sampling import Sampling, Scored

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
    guide: Guide | None = None,
) -> Iterator[Scored]:
    """Yield the tokens that follow *prompt*, up to *limit* of them.

    Args:
        step: a new step function for one row.
        prompt: token ids.
        limit: most tokens to yield.
        ends: tokens that end the answer; they are not yielded, unless ``sampling.past_end``.
        sampling: how a token is drawn.
        guide: its grammar's, which decides where the answer ends; end tokens are not yielded then.

    Raises:
        GrammarError: the grammar is too complex to go on.
    """
    import numpy as np

    random = np.random.default_rng(sampling.seed)
    ids = np.asarray([prompt], np.int64)
    answer: list[int] = []
    for _ in range(limit):
        scores = step(ids)[0]
        changed = with_penalties(scores, prompt, answer, sampling)
        token = choose(guide.allowed(changed) if guide else changed, sampling, random)
        if token in ends and (guide or not sampling.past_end):
            return
        answer.append(token)
        yield scored(scores, token, sampling.top_logprobs)
        if guide:
            guide.advance(token)
            if guide.complete:
                return
        ids = np.asarray([[token]], np.int64)


def decode_together(step: Step, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
    """Yield the next token of every prompt, greedily, ignoring end tokens; prompts have one length."""
    import numpy as np

    ids = np.asarray(prompts, np.int64)
    for _ in range(new_tokens):
        ids = step(ids).argmax(-1)[:, None].astype(np.int64)
        yield ids[:, 0].tolist()


def with_penalties(
    scores: "np.ndarray", prompt: Sequence[int], answer: Sequence[int], sampling: Sampling
) -> "np.ndarray":
    """Return logits (vocabulary,) with penalties and biases; *scores* themselves if there are none."""
    import numpy as np

    repetition, presence = sampling.repetition_penalty, sampling.presence_penalty
    if repetition == 1 and not (presence or sampling.frequency_penalty or sampling.logit_bias):
        return scores
    changed = scores.astype(np.float64)
    if repetition != 1:
        seen = np.unique(np.asarray([*prompt, *answer], np.int64))
        changed[seen] = np.where(changed[seen] > 0, changed[seen] / repetition, changed[seen] * repetition)
    written, times = np.unique(np.asarray(answer, np.int64), return_counts=True)
    changed[written] -= presence + sampling.frequency_penalty * times
    for token, bias in sampling.logit_bias:
        changed[token] += bias
    return changed


def choose(scores: "np.ndarray", sampling: Sampling, random: "np.random.Generator") -> int:
    """Return the next token id for logits of shape (vocabulary,), which have their penalties."""
    import numpy as np

    if sampling.temperature == 0:
        return int(scores.argmax())
    scaled = scores.astype(np.float64) / sampling.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    ids = np.argsort(-probabilities, kind="stable")
    probabilities = probabilities[ids]
    if sampling.top_k or sampling.min_p:
        probabilities[sampling.top_k or len(ids) :] = 0
        probabilities[probabilities < sampling.min_p * probabilities[0]] = 0
        probabilities /= probabilities.sum()
    # The token that crosses top_p is kept, so at least one remains.
    probabilities[probabilities.cumsum() - probabilities >= sampling.top_p] = 0
    cumulative = probabilities.cumsum()
    return int(ids[np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")])


def scored(scores: "np.ndarray", token: int, top: int | None) -> Scored:
    """Return *token* with its log probability under logits of shape (vocabulary,); None asks for none."""
    import numpy as np

    if top is None:
        return Scored(token)
    logits = scores.astype(np.float64)
    logprobs = logits - logits.max()
    logprobs -= np.log(np.exp(logprobs).sum())
    likeliest = np.argsort(-logprobs, kind="stable")[:top]
    return Scored(
        token, float(logprobs[token]), tuple((int(each), float(logprobs[each])) for each in likeliest)
    )
