"""Every format, read as users read it: through ``Files``."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.data import Line
from framework.build.data.files import Files
from framework.core.errors import DataError

Write = Callable[[str, str | bytes], str]


def read(path: str) -> list[Line]:
    return list(Files.model_validate({"train": path, "test_fraction": 0}).read("train"))


def contents(lines: list[Line]) -> list[tuple[int, Any]]:
    """Return each line's number, and its problem or else its raw row."""
    return [(line.number, line.problem or line.raw) for line in lines]


A, B = {"text": "a"}, {"text": "b"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '{"text": "a"}\n{"text": "b"}\n'),
        ("x.ndjson", '{"text": "a"}\r\n{"text": "b"}'),
        ("x.jsonl", b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n\n \n'),
        ("x.JSONL.gz", gzip.compress(b'{"text": "a"}\n{"text": "b"}\n', mtime=0)),
        ("x.json", '{"text": "a"}\n{"text": "b"}\n'),
        ("x.json", '[{"text": "a"},\n{"text": "b"}]\n'),
        ("x.json", b"\xef\xbb\xbf\r\n"[:3] + b'[{"text": "a"},\r\n{"text": "b"}\r\n]\r\n\r\n'),
        ("x.json.gz", gzip.compress(b'[{"text": "a"},\n{"text": "b"}]', mtime=0)),
        ("x.txt", "a\n\x20\nb\n"),
    ],
)
def test_all_line_ends_are_read(write: Write, name: str, content: str | bytes) -> None:
    lines = read(write(name, content))
    assert [line.raw for line in lines] == [A, B]
    assert [line.number for line in lines] == [1, 3 if name == "x.txt" else 2]
    assert all(line.file.endswith(name) and line.problem is None for line in lines)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "text,label\na,1\nb,2\n"),
        ("x.csv", b"\xef\xbb\xbftext,label\r\na,1\r\nb,2\r\n\r\n,\r\n"),
        ("x.csv", '"text"," label "\n"a",1\nb,"2"'),
        ("x.csv.gz", gzip.compress(b"text,label\na,1\nb,2\n", mtime=0)),
        ("x.tsv", "text\tlabel\na\t1\nb\t2\n"),
    ],
)
def test_tables_are_read_by_their_header(write: Write, name: str, content: str | bytes) -> None:
    lines = read(write(name, content))
    assert contents(lines) == [(2, {"text": "a", "label": "1"}), (3, {"text": "b", "label": "2"})]


def test_a_csv_record_that_spans_lines_has_its_first_line(write: Write) -> None:
    path = write("x.csv", 'text,label\n"one\ntwo, ""three""\n",x\n\nlast,y\n')
    assert contents(read(path)) == [
        (2, {"text": 'one\ntwo, "three"\n', "label": "x"}),
        (5, "empty line"),
        (6, {"text": "last", "label": "y"}),
    ]


def test_a_csv_field_may_be_a_whole_document(write: Write) -> None:
    long = "word " * 60_000
    assert read(write("x.csv", f"text\n{long}\n"))[0].raw == {"text": long}


def test_broken_csv_rows_do_not_stop_reading(write: Write) -> None:
    path = write("x.csv", b'text,label\na\nb,1,2\n"c"d,1\ncaf\xe9,1\nok,1\n')
    lines = read(path)
    assert [line.number for line in lines] == [2, 3, 4, 5, 6]
    assert lines[0].problem == "1 fields, but the header has 2"
    assert lines[1].problem == "3 fields, but the header has 2"
    assert "quoting" in (lines[2].problem or "")
    assert "not UTF-8" in (lines[3].problem or "")
    assert lines[4] == Line(path, 6, {"text": "ok", "label": "1"})


def test_an_unclosed_quote_stops_reading(write: Write) -> None:
    path = write("x.csv", 'text,label\na,1\n"b,2\nc,3\nd,4\n')
    with pytest.raises(DataError, match=r"x\.csv:3: a quote opened here is not closed"):
        read(path)
    path = write("y.csv", 'text,label\n"b,2\nc,3\n"d",4\n')
    with pytest.raises(DataError, match=r"y\.csv:2: a quote opened here is not closed"):
        read(path)


def test_a_duplicate_column_is_rejected(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.csv:1: the header has 'text' more than once"):
        read(write("x.csv", "text,text\na,b\n"))


def test_broken_json_lines_have_their_line_and_column(write: Write) -> None:
    broken = b'{"text": "a"\n\n{"text": "caf\xe9"}\n' + b"[" * 100_000 + b'\n7\n{"text": "b"}\n'
    lines = read(write("x.jsonl", broken))
    assert [line.number for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0].problem == "broken JSON: Expecting ',' delimiter at column 13"
    assert lines[1].problem == "empty line"
    assert "not UTF-8: byte 0xe9 at byte 14" in (lines[2].problem or "")
    assert "broken JSON" in (lines[3].problem or "")
    assert (lines[4].raw, lines[4].problem) == (7, None)  # `canonical` says what a row must be
    assert lines[5].raw == B


def test_json_array_rows_have_their_first_line(write: Write) -> None:
    path = write("x.json", '\n[\n  {"text":\n    "a"},\n\n  {"text": "b"}, 3\n]\n')
    assert contents(read(path)) == [(3, A), (6, B), (6, 3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text" "b"}]', r"x\.json:2: broken JSON array: Expecting ':'"),
        ('[{"text": "a"}\n{"text": "b"}]', r"x\.json:2: broken JSON array: expecting ',' or '\]'"),
        ('[{"text": "a"},\n', r"x\.json:2: broken JSON array"),
        ('[{"text": "a"}]\n[]', r"x\.json:2: broken JSON array: text after"),
        (b'[{"text": "a"},\n{"text": "\xe9"}]', r"x\.json:2: not UTF-8"),
    ],
)
def test_a_broken_json_array_names_the_line(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write("x.json", content))


def test_each_paragraph_of_text_is_a_row(write: Write) -> None:
    path = write("x.txt", b"\n\nfirst\r\nsecond  \r\n\r\n\r\nthird\n\n\xff\n")
    lines = read(path)
    assert contents(lines)[:2] == [(3, {"text": "first\nsecond  "}), (7, {"text": "third"})]
    assert (lines[2].number, "not UTF-8" in (lines[2].problem or "")) == (9, True)


def test_parquet_rows_are_read_in_order(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"messages": [{"role": "user", "content": str(n)}], "text": None} for n in range(3000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=700)
    lines = read(str(tmp_path / "x.parquet"))
    assert [line.number for line in lines] == list(range(1, 3001))
    assert [line.raw for line in lines] == rows


def test_a_file_that_is_not_parquet_is_rejected(write: Write) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"x\.parquet:1: not a complete Parquet file"):
        read(write("x.parquet", "hello"))


def test_a_missing_pyarrow_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"x\.parquet: reading Parquet needs pyarrow; `pip install pyarrow`"):
        read(write("x.parquet", "hello"))


def test_a_truncated_gzip_names_the_line(write: Write) -> None:
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % (n * n) for n in range(50_000)))
    with pytest.raises(DataError, match=r"x\.jsonl\.gz:\d+: cannot be read from here on"):
        read(write("x.jsonl.gz", whole[:-1000]))


def test_a_header_in_another_encoding_is_rejected(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.csv:1: the header is not UTF-8"):
        read(write("x.csv", "text,größe\na,b\n".encode("latin-1")))
