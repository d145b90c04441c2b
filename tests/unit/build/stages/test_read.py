import json
import shlex
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.files import Files
from framework.build.data.shards import read_shards
from framework.build.data.unused_keys import UnusedKeys, ignore_override
from framework.build.stages.read import ReadRows
from framework.core.errors import DataError
from framework.core.step import Step, Workspace

Read = Callable[..., Path]
GOOD = {"prompt": "Is 1 even or odd?", "completion": "odd"}
OTHER = {"prompt": "Is 2 even or odd?", "completion": "even"}
EMPTY = {"prompt": "a", "completion": ""}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Run the stage on the text of two JSONL files in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))

    def call(train: str, test: str = lines(OTHER), **options: Any) -> Path:
        Path("train.jsonl").write_text(train, encoding="utf-8")
        Path("test.jsonl").write_text(test, encoding="utf-8")
        output = tmp_path / "output"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        data = Files(train="train.jsonl", test="test.jsonl", **options)
        ReadRows.of(data).run({}, output, Workspace(tmp_path))
        return output

    return call


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, dict[str, Any]]:
    counts: dict[str, dict[str, Any]] = json.loads((folder / "summary.json").read_text())
    return counts


def test_rejected_rows_are_named_and_left_out(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    train = lines(GOOD, {"prompt": "Is 2 even?", "completion": ""}, "{broken", GOOD, {"promt": "a"}, "", GOOD)
    folder = read(train, max_rejected=0.9)
    entries = rejected(folder)
    assert [(entry["split"], entry["file"], entry["line"]) for entry in entries] == [
        ("train", "train.jsonl", 2),
        ("train", "train.jsonl", 3),
        ("train", "train.jsonl", 5),
        ("train", "train.jsonl", 6),
    ]
    assert entries[0]["reason"] == "empty completion"
    assert "did you mean 'prompt'" in entries[2]["reason"]
    assert entries[3]["reason"] == "empty line"
    counts = summary(folder)
    assert (counts["train"]["rows"], counts["train"]["rejected"]) == (3, 4)
    assert (counts["test"]["rows"], counts["test"]["rejected"]) == (1, 0)
    assert "  rejected train.jsonl:2: empty completion\n" in capsys.readouterr().out
    assert [(row.file, row.line) for row in read_shards(folder, "train")] == [
        ("train.jsonl", 1),
        ("train.jsonl", 4),
        ("train.jsonl", 7),
    ]


def test_five_rejected_rows_are_shown_of_all(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    folder = read(lines(*[GOOD] * 3, *[EMPTY] * 8), max_rejected=1.0)
    printed = capsys.readouterr().out
    assert printed.count("  rejected ") == 5
    assert "… and 3 more; rejected.jsonl lists all" in printed
    assert len(rejected(folder)) == 8


def test_too_many_rejected_rows_stop_the_plan(read: Read) -> None:
    train = lines(*[GOOD] * 8, EMPTY)
    with pytest.raises(DataError) as caught:
        read(train, max_rejected=0.05)
    message = str(caught.value)
    assert "1 of 9 rows of split 'train'" in message
    assert "data.max_rejected=0.05" in message
    assert message.endswith("\n  train.jsonl:9: empty completion")
    read(lines(*[GOOD] * 9, EMPTY), max_rejected=0.1)  # exactly the share that is allowed


def test_share_of_rejected_rows_is_bounded_in_each_split(read: Read) -> None:
    with pytest.raises(DataError, match="9 of 10 rows of split 'test'") as caught:
        read(lines(*[GOOD] * 200), lines(OTHER, *[EMPTY] * 9))
    assert "\n  test.jsonl:2: " in str(caught.value)
    assert "train" not in str(caught.value)


def test_rows_in_both_splits_are_counted_and_named(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    train = [{"prompt": f"{n}?", "completion": "x"} for n in range(200)]
    test = [{"prompt": f"{n}?", "completion": "x"} for n in range(199, 399)]
    folder = read(lines(*train), lines(*test))
    assert summary(folder)["test"]["in_train"] == 1
    assert "test.jsonl:1 is the same row as train.jsonl:200" in capsys.readouterr().out
    leaky = lines(*test[:98], train[3], train[3])
    with pytest.raises(DataError) as caught:
        read(lines(*train), leaky, max_overlap=0.01)
    assert "3 of 100 test rows" in str(caught.value)
    assert "data.max_overlap" in str(caught.value)
    assert "test.jsonl:99 is the same row as train.jsonl:4" in str(caught.value)
    for bound in (0.03, None):
        assert summary(read(lines(*train), leaky, max_overlap=bound))["test"]["in_train"] == 3
    read(lines(*train), lines(OTHER))
    assert "warning" not in capsys.readouterr().out.rpartition("train.jsonl:4")[2]


def test_too_few_rows_to_hold_out_name_the_fraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.jsonl").write_text(lines(*({"prompt": f"{n}?", "completion": "x"} for n in range(3))))
    for split, fraction in (("test", 1e-6), ("train", 1 - 1e-6)):
        stage = ReadRows.of(Files(train="few.jsonl", test_fraction=fraction))
        (tmp_path / split).mkdir()
        with pytest.raises(DataError, match=rf"split '{split}'; data\.test_fraction={fraction:g} "):
            stage.run({}, tmp_path / split, Workspace(tmp_path))


def test_no_usable_row_names_the_first_reason(read: Read) -> None:
    with pytest.raises(DataError, match=r"split 'test'; .*test.jsonl:1: empty completion"):
        read(lines(GOOD), lines(EMPTY), max_rejected=1.0)
    with pytest.raises(DataError, match=r"no usable row in split 'train'; add rows"):
        read("\n\n", max_rejected=1.0)


def test_unused_keys_are_refused_once_with_their_counts(read: Read, capsys) -> None:
    turn = {"role": "assistant", "content": "a", "score": 5}
    asked = {"role": "user", "content": "a"}
    train = lines(
        *[{**GOOD, "id": number} for number in range(3)], {"messages": [asked, turn], "inputs": "x"}
    )
    test = lines({**OTHER, "id": 9, "source": None})
    with pytest.raises(DataError) as caught:
        read(train, test)
    first, *listed = str(caught.value).splitlines()
    assert """'data.ignore=[id,inputs,"messages[].score"]'""" in first
    assert listed == [
        "  id: in 4 rows",
        "  inputs: in 1 row; did you mean 'input'?",
        "  messages[].score: in 1 row",
    ]
    with pytest.raises(DataError, match=r"'data.ignore=\[source,id,inputs,"):
        read(train, test, ignore=["source"])
    ignored = ["id", "inputs", "messages[].score", "ids"]
    folder = read(train, test, ignore=ignored)
    assert (summary(folder)["train"]["rows"], rejected(folder)) == (4, [])
    assert "data.ignore: no row has 'ids'\n" in capsys.readouterr().out


def test_a_key_without_a_name_is_shown(read: Read) -> None:
    """It is the index that pandas writes to CSV."""
    with pytest.raises(DataError, match=r"(?s)data\.ignore=\[\"\"\]'.*\n  '': in 1 row$"):
        read(lines({**GOOD, "": 0}))
    read(lines({**GOOD, "": 0}), ignore=[""])


def test_the_override_ignores_the_keys(read: Read) -> None:
    """Whatever the keys are: the command line reads the override as it is printed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    keys = ["id", "a b", "it's", "null", "1", "x,y", "messages[].id", 'q"q']
    (override,) = shlex.split(ignore_override(keys))
    assert OverridesParser.create().parse_override(override).value() == keys


def test_memory_for_unused_keys_is_bounded() -> None:
    keys = UnusedKeys()
    for number in range(1500):
        keys.canonical({**GOOD, f"key {number}": 1}, ())
    with pytest.raises(DataError, match="… and at least 980 more"):
        keys.require_none()


def test_a_row_without_a_json_form_is_rejected(read: Read) -> None:
    tools = [{"name": "\ud800"}]
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    folder = read(lines(GOOD, {**row, "tools": tools}), max_rejected=0.5)
    assert [entry["line"] for entry in rejected(folder)] == [2]


def test_rows_keep_the_order_of_their_keys(read: Read) -> None:
    """A chat template writes tools as they are given, so only the digest of ``encode`` sorts keys."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (row,) = read_shards(read(lines({"messages": turns, "tools": [{"b": 1, "a": 2}]})), "train")
    assert row.text.endswith('"tools": [{"b": 1, "a": 2}]}')


def test_bytes_depend_on_the_rows_alone(read: Read) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    train = lines(GOOD, {"prompt": "ünïcode", "completion": "\u2028"}, {"prompt": "a", "completion": "b"})
    first = contents(read(train, max_rejected=0.5))
    assert contents(read(train, max_rejected=0.5)) == first
    assert set(first) == {
        *(f"{kind}{split}/00000.jsonl" for kind in ("", "origins/") for split in ("train", "test")),
        "rejected.jsonl",
        "summary.json",
    }
    digest = json.loads(first["summary.json"])["train"]["sha256"]
    assert digest == sha256(first["train/00000.jsonl"]).hexdigest()


def test_limits_on_tokens_leave_the_key_alone() -> None:
    key = Step("read", ReadRows.of(Files(train="a.jsonl"))).stage.spec()
    limits = {"max_length": 64, "too_long": "truncate", "max_rejected": 0.5, "max_overlap": 1.0}
    assert Step("read", ReadRows.of(Files(train="a.jsonl", **limits))).stage.spec() == key
    assert ReadRows.of(Files(train="a.jsonl", test_fraction=0.5)).spec() != key
