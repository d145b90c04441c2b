"""Which files of a folder belong to a subset and a split."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from framework.build.data.files import Files
from framework.build.data.source_files import source_files
from framework.core.errors import DataError
from framework.core.source import Source

Names = Callable[..., list[str]]


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """Write empty files to a folder, and return the names of those that are chosen from it."""

    def call(*files: str, card: str = "", subset: str | None = None, split: str | None = None) -> list[str]:
        for name in (*files, *(["README.md"] if card else [])):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"---\nlicense: mit\n{card}---\n# Rows\n" if name == "README.md" else "")
        chosen = source_files(Source(url=str(tmp_path)), subset, split)
        assert all(file.folder == file.path.parent for file in chosen)
        return [file.name.removeprefix(f"{tmp_path}/") for file in chosen]

    return call


SPLIT = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test.parquet")
CARD = """configs:
- config_name: main
  default: true
  data_files:
  - {split: train, path: "main/a*"}
  - {split: test, path: [main/b.jsonl]}
- config_name: other
  data_files: other.csv
"""


def test_files_of_a_split_are_those_that_its_name_is_in(names: Names) -> None:
    assert names(*SPLIT, split="train") == list(SPLIT[:2])
    assert names(split="test") == [SPLIT[2]]
    assert names(split="train+test") == list(SPLIT)
    assert names("dataset_infos.json", split="all") == [SPLIT[2], *SPLIT[:2]]


def test_a_folder_without_splits_is_read_whole(names: Names) -> None:
    assert names("a.jsonl", "contest.jsonl", "latest.csv") == ["a.jsonl", "contest.jsonl", "latest.csv"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, r"of the splits train, test; set data\.split=train .*data\.split=all"),
        ("validation", "no split 'validation'; it has train, test"),
    ],
)
def test_a_split_that_is_not_decided_is_refused(names: Names, split: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        names(*SPLIT, split=split)


def test_the_card_lists_subsets_and_splits(names: Names) -> None:
    files = ("main/a.jsonl", "main/a2.jsonl", "main/b.jsonl", "other.csv")
    assert names(*files, card=CARD, subset="main", split="train") == ["main/a.jsonl", "main/a2.jsonl"]
    assert names(subset="main", split="test") == ["main/b.jsonl"]
    assert names(subset="other") == ["other.csv"]
    with pytest.raises(DataError, match=r"no subset 'x'; it has main, other; set data\.subset="):
        names(subset="x", split="train")


def test_a_default_subset_is_taken(names: Names) -> None:
    assert names("main/a.jsonl", "main/b.jsonl", "other.csv", card=CARD, split="test") == ["main/b.jsonl"]
    several = CARD.replace("  default: true\n", "")
    with pytest.raises(DataError, match="it has the subsets main, other"):
        names(card=several, split="test")


def test_a_subset_without_a_card_is_a_folder(names: Names) -> None:
    assert names("de/train.csv", "en/train.csv", subset="de") == ["de/train.csv"]
    with pytest.raises(DataError, match="no subset 'fr'; its folders are de, en"):
        names(subset="fr")


def test_splits_of_one_repository_train_and_test(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "d"}\n')
    data = Files.model_validate(
        {"train": str(tmp_path), "split": "train", "test_split": "test", "max_samples": 2}
    )
    assert [line.raw["text"] for line in data.read("train")] == ["a", "b"]
    assert [line.raw["text"] for line in data.read("test")] == ["d"]
    assert data.problems() == []
    assert data.guess_size().train <= 2


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    for chosen in ({"split": "train"}, {"subset": "main"}):
        (problem,) = Files.model_validate({"train": str(tmp_path / "x.jsonl"), **chosen}).problems()
        assert problem.key == "train.0"


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["a.jsonl", "notes.txt"], "notes.txt"),
        (["a.txt", "LICENSE.txt"], "LICENSE.txt"),
        (["requirements.txt"], "requirements.txt"),
        (["a.txt", "b.txt.gz"], None),
    ],
)
def test_text_that_may_be_no_document_is_refused(tmp_path: Path, names: list[str], named: str | None) -> None:
    for name in names:
        (tmp_path / name).write_text('{"text": "a"}\n')
    problems = Files(train=str(tmp_path)).problems()
    assert [named in problem.reason for problem in problems if named] == ([True] if named else [])
    assert len(problems) == bool(named)
    assert Files(train=str(tmp_path), format="txt").problems() == []


@pytest.mark.parametrize(
    "data_files", ['""', "{train: 1}", "{train: null}", "{train: [{path: x}]}", "/", "x**y"]
)
def test_a_card_without_files_is_named(names: Names, data_files: str) -> None:
    with pytest.raises(DataError, match="split 'train' of its card"):
        names("a.jsonl", card=f"configs:\n- data_files: {data_files}\n")


def test_a_split_that_is_not_chosen_may_be_unreadable(names: Names) -> None:
    card = "configs:\n- data_files:\n"
    card += "".join(
        f"  - {{split: {item}}}\n" for item in ("train, path: a*", "train, path: b*", "raw, path: c*")
    )
    files = ("a.jsonl", "b.jsonl", "c.bin")
    assert names(*files, card=card, split="train") == ["a.jsonl", "b.jsonl"]
    for split in ("raw", "train+raw", "all", None):
        with pytest.raises(DataError, match="split 'raw' of its card"):
            names(split=split)


def test_a_slice_names_max_samples() -> None:
    with pytest.raises(ValidationError, match="max_samples"):
        Files.model_validate({"train": "rows", "split": "train[:20%]"})
