"""Every format, read as users read it: through ``Files``."""

import bz2
import gzip
import json
import lzma
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
        ("x.csv", 'text;"label"\na;1\nb;2\n'),
        ("x.csv", "text\tlabel\na\t1\nb\t2\n"),
        ("x.tsv", "text\tlabel\na\t1\nb\t2\n"),
    ],
)
def test_tables_are_read_by_their_header(write: Write, name: str, content: str | bytes) -> None:
    lines = read(write(name, content))
    assert contents(lines) == [(2, {"text": "a", "label": "1"}), (3, {"text": "b", "label": "2"})]


TWO_LINES = '{"text": "a"}\n{"text": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", '[{"text": "a"}, {"text": "b"}]'),
        ("x.jsonl", '[\n{"text": "a"},\n{"text": "b"},\n]\n'),
        ("x.jsonl", '[{"text": "a"}]\n[{"text": "b"}]'),
        ("x.jsonl", '{"text": "a"}{"text": "b"}\n'),
        ("x.jsonl", '{"text": "a"},\n{"text": "b"},\n'),
        ("x.jsonl", '{\n "text":\n "a"\n}\n{\n "text": "b"}\n'),
        ("x.json", '{\n"text": "a"\n} {"text": "b"}'),
        ("x.json", '{"version": 2, "data": [{"text": "a"}, {"text": "b"}]}'),
        ("x.json", '{"schema": {"fields": []}, "info": null, "rows": [{"text": "a"}, {"text": "b"}]}'),
        ("x.json", '{"text": {"0": "a", "1": "b"}}'),
        ("x.json", '{"0": {"text": "a"}, "1": {"text": "b"}}'),
        ("x.json", '{"columns": ["text"], "index": [0, 1], "data": [["a"], ["b"]]}'),
        ("x.json", '{"text":\n["a", "b"]}'),
        ("x.jsonl", TWO_LINES.encode("utf-16")),
        ("x.jsonl", TWO_LINES.encode("utf-16-le")),
        ("x.jsonl", TWO_LINES.replace("\n", "\r").encode()),
        ("x.jsonl", TWO_LINES.replace("\n", "\r\r\n").encode()),
        ("x.jsonl.bz2", bz2.compress(TWO_LINES.encode())),
        ("x.jsonl.xz", lzma.compress(TWO_LINES.encode())),
        ("x.csv", "text\ra\rb\r"),
        ("x.csv", "sep=;\ntext\na\nb\n"),
        ("x.csv", "text\na\nb\n".encode("utf-16")),
        ("x.txt", "a\r\rb\r"),
    ],
)
def test_common_layouts_have_the_same_rows(write: Write, name: str, content: str | bytes) -> None:
    lines = read(write(name, content))
    assert [(line.raw, line.problem) for line in lines] == [(A, None), (B, None)]


def test_zstandard_is_read_to_its_end(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "x.jsonl.zst"
    with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(TWO_LINES.encode() * 50_000)
    assert len(read(str(path))) == 100_000
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"x\.jsonl\.zst:\d+: cannot be read from here on"):
        read(str(path))


@pytest.mark.parametrize(
    "content",
    [
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        '{"tokens": ["a", "b"], "tags": ["O", "O"]}',
        '{"text": "a", "labels": ["x"]}',
        '{"train": [{"text": "a"}], "test": [{"text": "b"}]}',
        '{"a": {"x": 1}, "b": {"y": 2}}',
    ],
)
def test_an_object_that_may_be_a_row_stays_one(write: Write, content: str) -> None:
    assert [line.raw for line in read(write("x.json", content))] == [json.loads(content)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", '{"text": "a",}\n', "a comma before '}' at column 14"),
        ("x.jsonl", "{'text': 'a'}\n", "a single quote"),
        ("x.csv", 'text,label\n"say \\"hi\\"",x\n', "does not escape a quote"),
    ],
)
def test_what_is_not_the_format_is_named(write: Write, name: str, content: str, said: str) -> None:
    (line,) = read(write(name, content))
    assert said in (line.problem or "")


def test_a_zip_archive_is_named(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.csv: a zip archive or an Excel workbook"):
        read(write("x.csv", b"PK\x03\x04..."))


@pytest.mark.parametrize("first", ['{"text": "a"', '{"text":', "{"])
def test_a_broken_first_line_does_not_hide_the_others(write: Write, first: str) -> None:
    lines = read(write("x.jsonl", f"{first}\n{TWO_LINES}"))
    assert [line.raw for line in lines] == [None, A, B]
    assert [line.number for line in lines] == [1, 2, 3]


def test_a_large_array_is_read_row_by_row(write: Write) -> None:
    rows = [{"text": f"row {n}\n" * (n % 7)} for n in range(3000)]
    path = write("x.json", json.dumps(rows, indent=1))
    assert [line.raw for line in read(path)] == rows


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
    assert "0xe9 ('é' in Windows-1252) at byte 14" in (lines[2].problem or "")
    assert "broken JSON" in (lines[3].problem or "")
    assert (lines[4].raw, lines[4].problem) == (7, None)  # `canonical` says what a row must be
    assert lines[5].raw == B


def test_json_array_rows_have_their_first_line(write: Write) -> None:
    path = write("x.json", '\n[\n  {"text":\n    "a"},\n\n  {"text": "b"}, 3\n]\n')
    assert contents(read(path)) == [(3, A), (6, B), (6, 3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text" "b"}]', r"x\.json:2: broken JSON: Expecting ':'"),
        ('[{"text": "a"}\n{"text": "b"}]', r"x\.json:2: broken JSON: expecting ',' or '\]'"),
        ('[{"text": "a"},\n', r"x\.json:2: broken JSON: the array has no end"),
        ('[{"text": "a"}]\nthe end', r"x\.json:2: broken JSON"),
        ('{\n"text": "a"\n}\n{\n"text"\n}', r"x\.json:6: broken JSON: Expecting ':'"),
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


def test_a_truncated_gzip_names_the_line(write: Write) -> None:
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % (n * n) for n in range(50_000)))
    with pytest.raises(DataError, match=r"x\.jsonl\.gz:\d+: cannot be read from here on"):
        read(write("x.jsonl.gz", whole[:-1000]))


def test_a_header_in_another_encoding_is_rejected(write: Write) -> None:
    with pytest.raises(DataError, match=r"x\.csv:1: the header is not UTF-8"):
        read(write("x.csv", "text,größe\na,b\n".encode("latin-1")))


@pytest.mark.parametrize(
    "beside", [{"system": "Talk like a pirate."}, {"license": ["x"]}, {"lang": 0, "x": 0}]
)
def test_a_key_beside_the_rows_is_not_dropped(write: Write, beside: object) -> None:
    with pytest.raises(DataError, match=list(beside)[-1]):
        read(write("x.json", json.dumps({**beside, "data": [{"text": "a"}]})))
