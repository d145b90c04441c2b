import json
from collections import Counter
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from framework.build.data import Data, Split
from framework.build.data.mix import Mix
from framework.core.errors import DataError

Write = Callable[[str, str], str]
PYRAMID = {"general": 60, "domain": 30, "task": 10}


@pytest.fixture
def mix(write: Write) -> Callable[..., Mix]:
    """Make a mix of files, ``mix({"a": (20, 0.5)}, rows=10)``: 20 rows at share 0.5, and 2 test rows."""

    def make(parts: dict[str, tuple[int, float]], **fields: object) -> Mix:
        made = {}
        for name, (count, share) in parts.items():
            train = "".join(json.dumps({"text": f"{name} {index}"}) + "\n" for index in range(count))
            test = "".join(json.dumps({"text": f"{name} test {index}"}) + "\n" for index in range(2))
            files = {"train": write(f"{name}.jsonl", train), "test": write(f"{name}-test.jsonl", test)}
            made[name] = {"data": {"_target_": "framework.build.data.files.Files", **files}, "share": share}
        return Mix.model_validate({"parts": made, **fields})

    return make


def texts(data: Data, split: Split = "train") -> list[str]:
    return [line.raw["text"] for line in data.read(split)]


def counted(data: Data) -> dict[str, int]:
    return Counter(text.split()[0] for text in texts(data))


def test_shares_are_met_without_repeating_a_row(mix) -> None:
    chosen = mix({name: (100, share) for name, share in PYRAMID.items()}, rows=100)
    assert counted(chosen) == PYRAMID
    assert len(set(texts(chosen))) == 100


def test_the_scarcest_part_limits_a_mix_without_rows(mix) -> None:
    assert counted(mix({"a": (100, 0.75), "b": (20, 0.25)})) == {"a": 60, "b": 20}
    assert counted(mix({"a": (7, 1)})) == {"a": 7}


@pytest.mark.parametrize("rows", range(1, 12))
def test_rounded_counts_add_up(mix, rows) -> None:
    assert sum(counted(mix({"a": (20, 1), "b": (20, 1), "c": (20, 1)}, rows=rows)).values()) == rows


def test_the_order_is_mixed_and_depends_on_the_seed(mix) -> None:
    parts = {"a": (50, 1), "b": (50, 1)}
    first = texts(mix(parts, rows=60))
    assert first == texts(mix(parts, rows=60))
    assert first == texts(mix(dict(reversed(parts.items())), rows=60))
    assert first != texts(mix(parts, rows=60, seed=1))
    assert {text.split()[0] for text in first[:20]} == {"a", "b"}


def test_more_rows_keep_those_of_fewer(mix) -> None:
    parts = {"a": (50, 2), "b": (50, 1)}
    assert set(texts(mix(parts, rows=30))) < set(texts(mix(parts, rows=60)))


def test_too_few_rows_are_rejected_unless_repeated(mix) -> None:
    parts = {"many": (100, 0.5), "few": (3, 0.5)}
    with pytest.raises(
        DataError, match=r"^data\.parts\.few: it has 3 rows, but its share of data\.rows=20 is 10; "
    ):
        texts(mix(parts, rows=20))
    repeated = Counter(texts(mix(parts, rows=20, repeat=True)))
    assert sorted(count for text, count in repeated.items() if text.startswith("few")) == [3, 3, 4]
    assert {count for text, count in repeated.items() if text.startswith("many")} == {1}


def test_test_rows_are_those_of_the_named_parts(mix) -> None:
    parts = {"new": (10, 9), "old": (10, 1)}
    assert texts(mix(parts), "test") == ["new test 0", "new test 1", "old test 0", "old test 1"]
    assert texts(mix(parts, test_parts=["new"]), "test") == ["new test 0", "new test 1"]
    few = texts(mix(parts, test_rows=3), "test")
    assert len(few) == 3
    assert set(few) < set(texts(mix(parts), "test"))


def test_broken_lines_are_reported_and_not_counted(mix, write) -> None:
    chosen = mix({"a": (4, 1), "b": (4, 1)})
    write("a.jsonl", '{"text": "a 0"}\nnot json\n{"text": "a 2"}\n')
    lines = list(chosen.read("train"))
    assert counted_good(lines) == {"a": 2, "b": 2}
    (broken,) = [line for line in lines if line.problem]
    assert (broken.file.rpartition("/")[2], broken.number) == ("a.jsonl", 2)


def counted_good(lines) -> dict[str, int]:
    return Counter(line.raw["text"].split()[0] for line in lines if line.problem is None)


def test_a_part_without_rows_is_named(mix, write) -> None:
    chosen = mix({"a": (4, 1), "b": (4, 1)})
    write("b.jsonl", "not json\n")
    with pytest.raises(DataError, match=r"^data\.parts\.b: it has no readable training row"):
        list(chosen.read("train"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test_parts": ["c"]}, "unknown part 'c'; the parts are a"),
        ({"repeat": True}, "'repeat' requires 'rows'"),
        ({"rows": 0}, "greater than or equal to 1"),
        ({"test_parts": []}, "at least 1 item"),
    ],
)
def test_invalid_combinations_are_rejected(mix, fields, message) -> None:
    with pytest.raises(ValidationError, match=message):
        mix({"a": (4, 1)}, **fields)


def test_a_dump_ignores_the_order_of_parts(mix) -> None:
    chosen = mix({"z": (9, 1), "a": (9, 1)})
    restored = Data.model_validate(json.loads(json.dumps(chosen.dump(), sort_keys=True)))
    assert list(restored.walk()) == list(chosen.walk())
    assert texts(restored) == texts(chosen)


def test_a_part_ignores_its_own_keys(write: Write) -> None:
    rows = write("a.jsonl", '{"text": "a", "id": 1}\n')
    part = {
        "_target_": "framework.build.data.files.Files",
        "train": rows,
        "test_fraction": 0,
        "ignore": ["id"],
    }
    (line,) = Mix.model_validate({"parts": {"a": {"data": part}}, "ignore": ["url"]}).read("train")
    assert line.ignore == ("id",)


@pytest.mark.parametrize(("most", "keys"), [(0.01, ["parts.a.data.test.0"]), (1, [])])
def test_the_mix_decides_whether_rows_may_be_in_both_splits(write, most, keys) -> None:
    data = {"_target_": "framework.build.data.files.Files", "train": write("x.jsonl", '{"text": "a"}\n')}
    data["test"] = data["train"]
    made = Mix.model_validate({"parts": {"a": {"data": data}}, "max_overlap": most})
    assert [problem.key for problem in made.problems()] == keys
