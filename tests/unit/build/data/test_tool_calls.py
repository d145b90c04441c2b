import json
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.files import Files
from framework.build.data.row_formats import canonical
from framework.build.data.tool_calls import read_calls, read_tools
from framework.core.errors import DataError

BARE = {"name": "weather", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": BARE}


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        [BARE],
        [{"type": "function", **BARE}],
        json.dumps([TOOL]),
        json.dumps([BARE]),
        [json.dumps(BARE)],
    ],
)
def test_tools_have_one_form(tools: Any) -> None:
    assert read_tools(tools, "tools") == [TOOL]


@pytest.mark.parametrize(
    ("tools", "reason"), [("[", "not JSON"), ("{}", "list of objects"), ([3], "list of")]
)
def test_tools_of_another_kind_are_named(tools: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_tools(tools, "tools")


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ({"city": "Oslo", "expr": None, "at": {"lat": 1, "lon": None}}, {"city": "Oslo", "at": {"lat": 1}}),
        ('{"city": null}', {"city": None}),
        (None, {}),
        ("", {}),
    ],
)
def test_only_a_null_in_json_text_is_an_argument(arguments: Any, read: Any) -> None:
    (call,) = read_calls([{"function": {"name": "f", "arguments": arguments}}], "turn 1")
    assert call["function"] == {"name": "f", "arguments": read}


@pytest.mark.parametrize("arguments", ["[1]", "oslo", [1]])
def test_arguments_that_are_no_object_are_named(arguments: Any) -> None:
    with pytest.raises(DataError, match="arguments of f"):
        read_calls([{"function": {"name": "f", "arguments": arguments}}], "turn 1")


def test_parquet_and_jsonl_give_equal_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    def row(name: str, key: str, value: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": {key: {"type": "string"}}}
        call = {"type": "function", "function": {"name": name, "arguments": {key: value}}}
        return {
            "messages": [
                {"role": "user", "content": value},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ],
            "tools": [{"type": "function", "function": {"name": name, "parameters": schema}}],
        }

    rows = [row("weather", "city", "Oslo"), row("calc", "expr", "2+2")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = [
        [canonical(line.raw) for line in Files(train=str(tmp_path / name), test_fraction=0).read("train")]
        for name in ("rows.parquet", "rows.jsonl")
    ]
    assert read[0] == read[1]
    assert "null" not in json.dumps(read[0])
