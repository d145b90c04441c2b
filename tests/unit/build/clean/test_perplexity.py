"""Planted texts that are unlike the others, or repeat; the others are sentences of a small grammar."""

import random
import string

import numpy as np
import pytest

from framework.build.clean.perplexity import Perplexity
from framework.build.clean.trigrams import Trigrams
from framework.build.clean.word_ngrams import words_of

_WHO = ["the mayor", "a farmer", "the old teacher", "my sister", "the council", "a young doctor", "the baker"]
_DOES = ["sold", "painted", "found", "repaired", "visited", "described", "bought", "lost"]
_WHAT = [
    "the bridge",
    "a red car",
    "three letters",
    "the library",
    "an old map",
    "the garden",
    "a wooden door",
]
_WHEN = ["on Monday", "last winter", "before the storm", "after the war", "in spring", "at the market"]


def prose(source: random.Random, sentences: int = 12) -> str:
    parts = ([source.choice(words) for words in (_WHO, _DOES, _WHAT, _WHEN)] for _ in range(sentences))
    return " ".join(f"{' '.join(each).capitalize()}." for each in parts)


def shuffled(text: str, source: random.Random) -> str:
    words = text.split()
    source.shuffle(words)
    return " ".join(words)


def garbled(text: str, source: random.Random) -> str:
    return "".join(source.choice(string.ascii_lowercase) if source.random() < 0.12 else each for each in text)


def repeated(text: str, source: random.Random) -> str:
    return f"{text.split('.')[0]}. " * 15


PLANTED = {"shuffled": shuffled, "garbled": garbled, "repeated": repeated}


def planted_rows(seed: int, rows: int, each: int) -> tuple[list[str], dict[int, str]]:
    """Return texts, and the kind of each planted one by its line."""
    source = random.Random(seed)
    texts, kinds = [prose(source) for _ in range(rows)], {}
    places = source.sample(range(rows), each * len(PLANTED))
    for number, place in enumerate(places):
        kind = [*PLANTED][number % len(PLANTED)]
        texts[place] = PLANTED[kind](texts[place], source)
        kinds[place + 1] = kind
    return texts, kinds


def test_planted_texts_are_found_by_quantiles(clean) -> None:
    texts, kinds = planted_rows(1, 1500, 15)
    cleaned = clean(Perplexity(low=0, high=0.98), texts)
    rules = {line: "zlib_low" if kind == "repeated" else "perplexity_high" for line, kind in kinds.items()}
    assert cleaned.rules == rules  # recall and precision 1.0: 30 of 1,500 rows are the upper 2 %
    assert all("the quantile 0.98" in entry["reason"] for entry in cleaned.removed if "plex" in entry["rule"])


def test_bounds_are_absolute_and_two_sided(clean) -> None:
    source = random.Random(2)
    template = (
        "Dear customer, thank you for your order, which we sent today by the fastest way that there is. "
        "You may return it within a month if something should be wrong, and we are glad to answer questions."
    )
    rows = [prose(source) for _ in range(300)]
    rows += [f"{template} {prose(source, 1)}" for _ in range(60)]
    rows.append(shuffled(prose(source), source))
    rows.append("".join(source.choices(string.printable[:62], k=90)) + " " + " ".join(_rare(source)))
    option = Perplexity(unit="perplexity", low=2, high=30, zlib_ratio=(0.2, 0.75))
    cleaned = clean(option, rows)
    assert cleaned.rules == {
        **dict.fromkeys(range(301, 361), "perplexity_low"),
        361: "perplexity_high",
        362: "perplexity_high",
    }
    assert clean(option.model_copy(update={"low": 0.0, "high": 1e9}), rows).rules == {362: "zlib_high"}
    assert clean(Perplexity(low=0, high=1, zlib_ratio=(0, 2)), rows).gone == []


def _rare(source: random.Random) -> list[str]:
    return ["".join(source.choices(string.ascii_letters, k=9)) for _ in range(40)]


def test_short_texts_are_not_judged(clean) -> None:
    rows = [prose(random.Random(3)), "abcdefghij klmnopqrst " * 9, "abcdefghij klmnopqrst " * 10]
    assert clean(Perplexity(low=0, high=1), rows).rules == {3: "zlib_low"}


def test_reference_decides_what_is_usual(clean, tmp_path) -> None:
    source = random.Random(4)
    reference = tmp_path / "wanted.txt"
    reference.write_text("\n\n".join(prose(source) for _ in range(200)))
    foreign = [" ".join(source.choices(["lorem", "ipsum", "dolor", "sit", "amet"], k=60)) for _ in range(90)]
    wanted = [prose(source) for _ in range(30)]
    bounds = {"unit": "perplexity", "low": 0, "high": 50, "zlib_ratio": (0, 2), "max_removed": 0.9}
    assert clean(Perplexity(**bounds), [*wanted, *foreign]).gone == []  # three of four rows are foreign
    found = clean(Perplexity(reference=str(reference), **bounds), [*wanted, *foreign])
    assert found.rules == dict.fromkeys(range(31, 121), "perplexity_high")


def test_same_bytes_for_any_number_of_workers(clean, monkeypatch) -> None:
    monkeypatch.setattr("framework.build.data.shards.ROWS_PER_SHARD", 64)
    texts, _ = planted_rows(5, 200, 2)
    one, two = (clean(Perplexity(workers=workers), texts) for workers in (1, 2))
    assert one.gone
    for name in ("summary.json", "removed.jsonl", "train/00000.jsonl"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_probabilities_sum_to_one_and_own_counts_do_not_help() -> None:
    texts = [words_of(prose(random.Random(seed))) for seed in range(50)]
    model = Trigrams(10_000)
    model.count(texts)
    known = sorted({word for text in texts for word in text})
    before = texts[0][:2]
    every = model.perplexities([[*before, word] for word in known], np.zeros(len(known)))
    (start,) = model.perplexities([before], np.zeros(1))
    shares = start**2 / every**3  # of each word after the same two
    assert 0.9 < shares.sum() <= 1.0
    alone = Trigrams(10_000)
    alone.count([*texts, ["never", "said", "before", "by", "anyone"]])
    odd = [["never", "said", "before", "by", "anyone"]]
    counted, new = (alone.perplexities(odd, np.array([known])) for known in (1, 0))
    assert counted[0] > 10_000 > 10 > new[0]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"high": 1.5}, "high"),
        ({"low": 0.5, "high": 0.4}, "low"),
        ({"zlib_ratio": (1, 0.5)}, "zlib_ratio"),
    ],
)
def test_bounds_that_no_text_is_within_are_problems(settings, key) -> None:
    assert [problem.key for problem in Perplexity(**settings).problems()] == [key]
