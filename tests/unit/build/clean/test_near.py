import random
from collections import Counter

import numpy as np
from planted_texts import copy_of, random_text

from framework.build.clean.near import Near
from framework.build.clean.word_ngrams import hash_ngrams


def test_planted_copies_are_found_and_other_rows_stay(clean) -> None:
    source = random.Random(1)
    originals = [random_text(source, source.randint(100, 200)) for _ in range(600)]
    rows, planted = [*originals], {}
    for similarity in (0.3, 0.8, 0.9):
        for original in source.sample(originals, 200):
            planted[len(rows) + 1] = similarity
            rows.append(copy_of(original, source, similarity))
    cleaned = clean(Near(max_removed=0.9), rows)
    found = Counter(planted.get(line, "new") for line in cleaned.gone)
    assert found[0.9] >= 0.99 * 200
    assert found[0.8] >= 0.9 * 200
    assert found[0.3] == 0  # alike, but under the threshold
    assert found["new"] == 0


def test_rows_that_teach_something_else_are_not_alike(clean) -> None:
    text = random_text(random.Random(2), 60)
    rows = [{"text": text, "label": "good"}, {"text": text, "label": "bad"}, {"text": text, "label": "good"}]
    assert clean(Near(), rows).gone == [3]
    call = {
        "type": "function",
        "function": {"name": "book", "arguments": {"note": random_text(random.Random(3), 90)}},
    }
    asked = {"role": "user", "content": random_text(random.Random(4), 20)}
    answered = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "assistant", "content": "no"},
    ]
    assert clean(Near(), [{"messages": [asked, answer]} for answer in answered]).gone == []


def test_short_rows_are_not_judged(clean) -> None:
    assert clean(Near(), ["Is 1 odd?"] * 3).gone == []


def test_chinese_characters_are_words(clean) -> None:
    source = random.Random(5)
    text = "".join(chr(0x4E00 + source.randrange(2000)) for _ in range(120))
    other = "".join(chr(0x4E00 + source.randrange(2000)) for _ in range(120))
    assert clean(Near(), [text, other, text[:60] + "的" + text[60:]]).gone == [3]


def test_same_bytes_for_any_number_of_workers(clean, monkeypatch) -> None:
    monkeypatch.setattr("framework.build.data.shards.ROWS_PER_SHARD", 16)
    source = random.Random(6)
    rows = [random_text(source, 30) for _ in range(40)]
    rows += [copy_of(row, source, 0.9) for row in rows[:20]]
    one, two = (clean(Near(workers=workers), rows) for workers in (1, 2))
    assert len([*(one.folder / "train").iterdir()]) > 2
    files = [file.relative_to(one.folder) for file in one.folder.rglob("*") if file.is_file()]
    assert {str(file) for file in files} >= {"summary.json", "removed.jsonl", "samples.json"}
    for file in files:
        assert (one.folder / file).read_bytes() == (two.folder / file).read_bytes(), file


def test_ngrams_stay_within_their_text() -> None:
    words = [["a", "b", "c", "d"], ["e"], [], ["c", "d", "e"]]
    grams = hash_ngrams(words, 2)
    assert grams.starts.tolist() == [0, 3, 4, 5, 7]
    assert len({*grams.hashes.tolist()}) == 6  # a-b b-c c-d e-_ _-_ and d-e; the second c-d is the first
    assert grams.hashes[2] == grams.hashes[5]
    alone = hash_ngrams([["c", "d", "e"]], 2)
    np.testing.assert_array_equal(alone.hashes, grams.hashes[5:])
