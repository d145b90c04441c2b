"""Planted passages that rows repeat, against a search of every window in plain Python."""

import random

import pytest
from planted_texts import random_text

from framework.build.clean.substring import Substring

LENGTH = 60


def covered(texts: list[str], length: int) -> list[set[int]]:
    """Return for each text the characters in windows that were there before."""
    seen: set[str] = set()
    found = []
    for text in texts:
        places: set[int] = set()
        for start in range(len(text) - length + 1):
            window = text[start : start + length]
            if window in seen:
                places.update(range(start, start + length))
            seen.add(window)
        found.append(places)
    return found


def left_of(text: str, gone: set[int]) -> str:
    kept = "".join("\0" if number in gone else each for number, each in enumerate(text))
    return "\n".join(part.strip() for part in kept.split("\0") if part.strip())


def planted(seed: int) -> tuple[list[str], dict[int, int]]:
    """Return texts, and the length of the passage of an earlier text in each that has one, by its line."""
    source = random.Random(seed)
    texts = [random_text(source, source.randint(40, 90)) for _ in range(240)]
    passages = {}
    for number in range(120, 240):
        size = source.choice((LENGTH - 1, LENGTH, LENGTH + 1, 150))
        early = texts[source.randrange(100)]
        start = source.randrange(len(early) - size)
        middle = source.randrange(len(texts[number]))
        # Marks on both sides, so that the passage is not longer by chance.
        texts[number] = f"{texts[number][:middle]}<{early[start : start + size]}>{texts[number][middle:]}"
        passages[number + 1] = size
    return texts, passages


def test_every_passage_of_the_length_is_cut_and_nothing_else(clean) -> None:
    texts, passages = planted(1)
    cleaned = clean(Substring(length=LENGTH), texts)
    assert cleaned.texts() == [
        left_of(text, gone) for text, gone in zip(texts, covered(texts, LENGTH), strict=True)
    ]
    long = [line for line, size in passages.items() if size >= LENGTH]
    pairs = enumerate(zip(texts, cleaned.texts(), strict=True), 1)
    changed = [line for line, (before, after) in pairs if before != after]
    assert changed == sorted(long)  # recall and precision 1.0
    assert len(long) < len(passages)  # some are one character too short
    assert cleaned.summary["train"]["rewritten_by"] == {"substring": len(long)}


@pytest.mark.parametrize("length", [20, 33, 64])
def test_windows_of_any_length_overlap_and_repeat_within_a_text(clean, length) -> None:
    source = random.Random(length)
    texts = ["".join(source.choices("ab", k=9)) * source.randint(1, 9) + "é界😀" * 30 for _ in range(60)]
    texts += ["", "short", "x" * length, "x" * (length - 1)]
    texts = [text or "y" for text in texts]
    expected = [left_of(text, gone) for text, gone in zip(texts, covered(texts, length), strict=True)]
    cleaned = clean(Substring(length=length, min_left=1, max_removed=0.9), texts)
    assert cleaned.texts() == [text for text in expected if text]
    assert cleaned.gone == [line for line, text in enumerate(expected, 1) if not text]


def test_rows_that_are_no_documents_go_by_their_share(clean) -> None:
    source = random.Random(2)
    first, second = (random_text(source, 60) for _ in range(2))
    new = random_text(source, 20)
    rows = [
        {"text": first, "label": "a"},
        {"text": f"{first[:250]}| {new}", "label": "b"},
        {"text": f"{new} {second} {first[:250]}", "label": "b"},
        _chat(second, first[:250]),
        _chat(first, "Yes."),
    ]
    cleaned = clean(Substring(max_removed=0.9), rows)
    assert cleaned.gone == [2, 4]
    assert cleaned.removed[0]["reason"] == f"250 of {len(rows[1]['text'])} characters repeat train.jsonl:1"
    assert clean(Substring(max_removed=0.9, max_share=0.3), rows).gone == [2, 3, 4]
    assert clean(Substring(max_removed=0.9, on="all"), rows).gone == [2, 4, 5]


def _chat(prompt: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def test_documents_are_dropped_if_set_or_if_nothing_is_left(clean) -> None:
    source = random.Random(3)
    first, new = random_text(source, 60), random_text(source, 50)
    rows = [first, f"{new} {first[20:]}", first, f"{first} end"]
    cleaned = clean(Substring(max_removed=0.9), rows)
    assert cleaned.gone == [3, 4]
    assert cleaned.texts()[1].startswith(new)
    assert clean(Substring(max_removed=0.9, action="drop"), rows).gone == [2, 3, 4]
    assert clean(Substring(max_removed=0.9, min_left=3), rows).gone == [3]


def test_same_bytes_for_any_number_of_workers(clean, monkeypatch) -> None:
    monkeypatch.setattr("framework.build.data.shards.ROWS_PER_SHARD", 64)
    texts, _ = planted(4)
    one, two = (clean(Substring(length=LENGTH, workers=workers), texts) for workers in (1, 2))
    for name in ("summary.json", "removed.jsonl", "samples.json", "train/00003.jsonl"):
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
