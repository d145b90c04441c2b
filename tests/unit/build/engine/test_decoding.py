from collections import Counter

import numpy as np

from framework.build.engine import Sampling, Scored
from framework.build.engine.decoding import choose, decode, decode_together

SHARES = np.array([0.1, 0.4, 0.3, 0.2])


def draw(sampling: Sampling, times: int = 4000) -> dict[int, float]:
    source = np.random.default_rng(0)
    drawn = Counter(choose(np.log(SHARES).astype(np.float32), sampling, source) for _ in range(times))
    return {token: drawn[token] / times for token in range(len(SHARES))}


def counting(fed: np.ndarray) -> np.ndarray:
    """Logits of a model that counts: the token after *n* is *n* + 1, up to 9."""
    return np.eye(10, dtype=np.float32)[np.minimum(fed[:, -1] + 1, 9)]


def test_tokens_are_sampled_by_probability() -> None:
    drawn = draw(Sampling(temperature=1.0))
    for token, share in enumerate(SHARES):
        assert abs(drawn[token] - share) < 0.03


def test_temperature_sharpens_or_flattens() -> None:
    assert draw(Sampling(temperature=0.2))[1] > 0.7
    assert max(draw(Sampling(temperature=50.0)).values()) < 0.3


def test_top_p_keeps_the_token_that_crosses_it() -> None:
    drawn = draw(Sampling(temperature=1.0, top_p=0.5))
    assert drawn[0] == drawn[3] == 0
    assert abs(drawn[1] - 4 / 7) < 0.03


def test_answer_ends_before_an_end_token_or_at_the_limit() -> None:
    assert list(decode(counting, [0, 1], 20, {5}, Sampling())) == list(map(Scored, [2, 3, 4]))
    assert list(decode(counting, [0, 1], 2, {5}, Sampling())) == list(map(Scored, [2, 3]))
    assert list(decode(counting, [0, 1], 5, {5}, Sampling(past_end=True))) == list(
        map(Scored, [2, 3, 4, 5, 6])
    )


def test_several_rows_are_decoded_together() -> None:
    assert list(decode_together(counting, [[0, 1], [0, 4]], 3)) == [[2, 5], [3, 6], [4, 7]]
