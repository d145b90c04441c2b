"""The rows in the repository, and the options that read them."""

import filecmp
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.build.data import SPLITS, Data, Line, Split
from framework.build.data.files import Files
from framework.build.data.row_formats import canonical
from framework.build.data.unused_keys import UnusedKeys
from framework.build.task.bioes import to_bioes
from framework.core.paths import SHARE

FACTBOOK = SHARE / "recipes" / "data" / "factbook"


def option(name: str) -> Data:
    fields: dict[str, Any] = yaml.safe_load((SHARE / "conf" / "data" / f"{name}.yaml").read_text())
    return Data.model_validate(fields)


def lines(name: str, split: Split) -> list[Line]:
    return list(option(name).read(split))


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("factbook", "train", 704),
        ("factbook", "test", 60),
        ("economy", "train", 648),
        ("economy", "test", 60),
        ("tiny", "train", 32),
        ("tiny", "test", 8),
    ],
)
def test_every_committed_row_is_canonical(name: str, split: Split, count: int) -> None:
    found = lines(name, split)
    assert len(found) == count
    assert [line.number for line in found] == list(range(1, count + 1))
    assert all(line.problem is None and canonical(line.raw, ["country"])["messages"] for line in found)


@pytest.mark.parametrize(
    "name",
    [
        "files",
        "factbook",
        "economy",
        "economy-documents",
        "entities",
        "search",
        "sectors",
        "sotu",
        "mix",
        "tiny",
        "vader",
    ],
)
def test_an_option_lists_every_key(name: str) -> None:
    text = (SHARE / "conf" / "data" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    given = yaml.safe_load(text)
    if name == "files":
        assert given["train"] == "???"
        given["train"] = "rows.jsonl"
    if name == "mix":
        assert given["parts"] == "???"
        given["parts"] = {"only": {"data": option("tiny")}}
    data = Data.model_validate(given)
    assert {*given} - {"_target_"} == {*type(data).model_fields}
    assert Data.model_validate(data.dump()) == data


LOCAL = ("factbook", "economy", "economy-documents", "entities", "search", "sectors", "tiny")


@pytest.mark.parametrize("name", LOCAL)
def test_every_key_is_used_or_ignored(name: str) -> None:
    data, keys = option(name), UnusedKeys()
    for split in SPLITS:
        for line in data.read(split):
            keys.canonical(line.raw, data.ignore)
    keys.require_none()


@pytest.mark.parametrize(("split", "count"), [("train", 162), ("test", 60)])
def test_a_query_has_no_name_and_its_passage_is_a_document(split: Split, count: int) -> None:
    found = lines("search", split)
    assert len(found) == count
    documents = {line.raw["text"] for line in lines("economy-documents", split)}
    for line in found:
        row = canonical(line.raw, ["country"])
        assert row.keys() == {"query", "passage"}
        assert row["passage"] in documents
        assert line.raw["country"] not in row["query"]


def test_factbook_splits_share_no_country() -> None:
    train = Counter(line.raw["country"] for line in lines("factbook", "train"))
    test = Counter(line.raw["country"] for line in lines("factbook", "test"))
    assert not train.keys() & test.keys()
    assert set(train.values()) == {4}
    assert set(test.values()) == {1}


@pytest.mark.parametrize(("split", "count"), [("train", 468), ("test", 168)])
def test_documents_and_questions_share_their_countries(split: Split, count: int) -> None:
    found = lines("economy-documents", split)
    assert len(found) == count
    assert {line.raw["country"] for line in found} <= {
        line.raw["country"] for line in lines("economy", split)
    }
    for line in found:
        assert canonical(line.raw, ["country"]) == {"text": line.raw["text"]}
        assert line.raw["text"].startswith(f"The economy of {line.raw['country']}. ")


@pytest.mark.parametrize("name", ["economy", "economy-documents", "entities", "sectors"])
def test_no_country_is_in_both_splits(name: str) -> None:
    train, test = ({line.raw["country"] for line in lines(name, split)} for split in ("train", "test"))
    assert train
    assert test
    assert not train & test


@pytest.mark.parametrize(("split", "count"), [("train", 468), ("test", 168)])
def test_tagged_words_match_the_documents(split: Split, count: int) -> None:
    found = [canonical(line.raw, ["country"]) for line in lines("entities", split)]
    assert len(found) == count
    kinds = {tag.partition("-")[2] for row in found for tag in to_bioes(row["tags"])}
    assert kinds == {"", "country", "money", "percent", "year"}
    for row, line in zip(found, lines("economy-documents", split), strict=True):
        text = line.raw["text"].partition(". ")[2].replace("\ufffd", "")
        assert text.replace(" ", "").endswith("".join(row["tokens"])[-40:])


def test_every_label_is_a_sector_of_the_recipe() -> None:
    known = yaml.safe_load((SHARE / "recipes" / "sectors.yaml").read_text())["model"]["labels"]
    for split in SPLITS:
        named = {
            label for line in lines("sectors", split) for label in canonical(line.raw, ["country"])["labels"]
        }
        assert named == set(known)


def test_factbook_answers_are_in_their_passage() -> None:
    for line in [*lines("factbook", "train"), *lines("factbook", "test")]:
        system, user, assistant = (message["content"] for message in line.raw["messages"])
        assert system == "You extract facts as JSON."
        answer = yaml.safe_load(assistant)
        assert len(answer) == 2
        assert user.startswith(f"{line.raw['country']}. ")
        for field, fact in answer.items():
            assert 0 < len(fact) <= 90
            assert f"{field.capitalize()}: {fact}." in user
            assert f"the {field}" in user.splitlines()[-1]


def test_factbook_questions_are_distinct() -> None:
    asked = [line.raw["messages"][1]["content"].splitlines()[-1] for line in lines("factbook", "train")]
    assert (
        len({(line.raw["country"], q) for line, q in zip(lines("factbook", "train"), asked, strict=True)})
        == 704
    )
    assert len(set(asked)) == 56  # every ordered pair of the eight fields


def test_tiny_rows_are_short_ascii_and_correct() -> None:
    numbers = []
    for line in [*lines("tiny", "train"), *lines("tiny", "test")]:
        asked, answer = (message["content"] for message in line.raw["messages"])
        assert asked.isascii()
        assert sum(len(m["role"]) + len(m["content"]) for m in line.raw["messages"]) < 100
        numbers.append(int(asked.split()[1]))
        assert answer == ("odd" if numbers[-1] % 2 else "even")
    assert sorted(numbers) == list(range(40))


def test_relative_paths_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = lines("tiny", "test")
    assert found[0].file == "recipes/data/tiny/test.jsonl"
    assert isinstance(option("tiny"), Files)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="prepare.py needs npm")
def test_factbook_is_reproduced_byte_for_byte(tmp_path: Path) -> None:
    script = FACTBOOK / "prepare.py"
    subprocess.run([sys.executable, str(script), "--output", str(tmp_path)], check=True, capture_output=True)
    names = sorted(file.name for file in FACTBOOK.glob("*.jsonl"))
    assert len(names) == 12
    for name in names:
        assert filecmp.cmp(tmp_path / name, FACTBOOK / name, shallow=False)
