import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.data import Data, Line
from framework.build.data.files import Files
from framework.core.errors import DataError, SourceError

Write = Callable[[str, str | bytes], str]


def files(train: Any, **fields: Any) -> Files:
    given = {"train": train, **fields}
    if "test" not in given:
        given.setdefault("test_fraction", 0)
    return Files.model_validate(given)


def read(train: Any, **fields: Any) -> list[Line]:
    return list(files(train, **fields).read("train"))


def test_an_unknown_suffix_requires_a_format(write: Write) -> None:
    path = write("rows.data", '{"text": "a"}\n')
    with pytest.raises(DataError, match=r"rows\.data: unknown suffix.*jsonl.*set data\.format="):
        read(path)
    assert read(path, format="jsonl") == [Line(path, 1, {"text": "a"})]


def test_columns_rename_foreign_keys(write: Write) -> None:
    path = write("x.csv", "question,answer,topic\nHi,Ho,t\n")
    lines = read(path, columns={"prompt": "question", "completion": "answer"})
    assert lines[0].raw == {"topic": "t", "prompt": "Hi", "completion": "Ho"}
    swapped = read(path, columns={"prompt": "answer", "completion": "question"})
    assert swapped[0].raw["prompt"] == "Ho"
    absent = read(path, columns={"prompt": "asked"})
    assert absent[0].problem == "no key 'asked', which data.columns maps; the row has question, answer, topic"


@pytest.mark.parametrize(
    ("own", "columns", "raw"),
    [
        ("SYS", {}, None),
        ("SYS", {"system": "prompt"}, {"prompt": "q", "completion": "a", "system": "SYS"}),
        ("", {}, {"prompt": "q", "completion": "a"}),
    ],
)
def test_columns_replace_no_key_of_the_file(write: Write, own: str, columns: Any, raw: Any) -> None:
    path = write("x.csv", f"prompt,question,answer\n{own},q,a\n")
    (line,) = read(path, columns={"prompt": "question", "completion": "answer", **columns})
    if raw is None:
        assert "its own 'prompt'" in str(line.problem)
    else:
        assert (line.raw, line.problem) == (raw, None)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"test": ["b.jsonl", "https://x.example/a.jsonl"]}, "test.1"),
        ({"split": "test", "test_split": "test"}, "train.0"),
        ({"split": "train", "test_split": "test"}, None),
        ({"test": "https://x.example/a.jsonl", "max_overlap": 1}, None),
    ],
)
def test_same_url_in_both_splits_is_a_problem(fields: Any, key: str | None) -> None:
    data = Files.model_validate({"train": "https://x.example/a.jsonl", **fields})
    assert [problem.key for problem in data.problems()] == ([key] if key else [])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"text": "a"}, {"text": "a", "label": None, "id": 3}),
        ({"text": "a"}, {"text": "a", "tags": [], "source": "x"}),
        ({"prompt": "Hi", "completion": "Ho"}, {"instruction": "Hi", "output": "Ho", "input": ""}),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
            {"messages": [{"from": "human", "value": "Hi", "id": 1}, {"from": "gpt", "value": "Ho"}]},
        ),
    ],
)
def test_rows_that_are_read_alike_are_in_one_split(write: Write, one: Any, other: Any) -> None:
    paths = [write(f"{number}.jsonl", json.dumps(row)) for number, row in enumerate((one, other))]
    for fraction in [part / 16 for part in range(1, 16)]:
        data = files(paths, test_fraction=fraction, ignore=["source"])
        assert sorted(len(list(data.read(split))) for split in ("train", "test")) == [0, 2]


def test_several_sources_and_folders_are_read_in_order(write: Write, tmp_path: Path) -> None:
    last = write("z.jsonl", '{"text": "z"}\n')
    write("folder/b.jsonl", '{"text": "b"}\n')
    write("folder/a/x.csv", "text\na\n")
    write("folder/README.md", "not rows")
    lines = read([str(tmp_path / "folder"), {"url": f"file://{last}"}])
    assert [line.raw["text"] for line in lines] == ["a", "b", "z"]
    assert lines[0].file == f"{tmp_path}/folder/a/x.csv"
    assert lines[2].file == last
    write("bare/README.md", "not rows")
    with pytest.raises(DataError, match="no file in the folder"):
        read(str(tmp_path / "bare"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.jsonl"):
        read(str(tmp_path / "gone.jsonl"))


def numbered(count: int) -> list[str]:
    return [json.dumps({"text": f"row {n}"}) + "\n" for n in range(count)]


def test_held_out_rows_stay_held_out(write: Write) -> None:
    rows = numbered(2000)
    path = write("x.jsonl", "".join(rows))
    data = Files.model_validate({"train": path})
    train, test = ({line.raw["text"] for line in data.read(split)} for split in ("train", "test"))
    assert len(train) + len(test) == 2000
    assert not train & test
    assert 150 < len(test) < 250  # a tenth by default
    write("x.jsonl", "".join(reversed(rows[:1500])) + "".join(numbered(4000)[2000:]) + rows[0])
    after = [line.raw["text"] for line in data.read("test")]
    kept = {json.loads(row)["text"] for row in rows[:1500]}
    assert set(after) & kept == test & kept
    assert len(set(after)) > len(test & kept)


def test_key_order_does_not_move_a_row(write: Write) -> None:
    one = write("x.jsonl", "".join(f'{{"text": "{n}", "label": 1}}\n' for n in range(100)) + "{\n")
    two = write("y.jsonl", "".join(f'{{"label": 1, "text": "{n}"}}\n' for n in range(100)) + "{\n")
    first, second = (
        [[line.number for line in files(path, test_fraction=0.5).read(split)] for split in ("train", "test")]
        for path in (one, two)
    )
    assert first == second
    assert 101 in first[0]
    assert sorted([*first[0], *first[1]]) == list(range(1, 102))


def test_a_test_file_is_never_trained_on(write: Write) -> None:
    data = files(write("x.jsonl", '{"text": "a"}\n'), test=write("y.jsonl", '{"text": "b"}\n'))
    assert [line.raw for line in data.read("train")] == [{"text": "a"}]
    assert [line.raw for line in data.read("test")] == [{"text": "b"}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test": "t.jsonl", "test_fraction": 0.2}, "test_fraction"),
        ({"test_fraction": 1}, "less than 1"),
        ({"train": []}, "at least 1"),
        ({"columns": {"question": "prompt"}}, "columns: 'question' is not one of messages"),
        ({"format": "xlsx"}, "'auto'"),
    ],
)
def test_invalid_combinations_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Files.model_validate({"train": "x.jsonl", **fields})
    assert message in str(caught.value)


def test_a_changed_file_changes_the_fingerprint(write: Write) -> None:
    data = files([write("x.jsonl", '{"text": "a"}\n')])
    before = [part.fingerprint() for part in data.walk() if hasattr(part, "fingerprint")]
    write("x.jsonl", '{"text": "b"}\n')
    after = [part.fingerprint() for part in data.walk() if hasattr(part, "fingerprint")]
    assert len(before) == len(after) == 1
    assert before != after


def test_the_schema_accepts_a_path_or_a_list(write: Write) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Files.model_json_schema()
    for train in ("x.jsonl", ["x.jsonl", {"url": "y.jsonl"}], {"url": "x.jsonl"}):
        jsonschema.validate({"train": train}, schema)
    data = files(write("x.jsonl", '{"text": "a"}\n'))
    assert Data.model_validate(data.dump()) == data
