import io
import tarfile
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from framework.build.data import Line
from framework.build.data.row_formats import canonical
from framework.build.data.vader import Vader
from framework.core.errors import DataError
from framework.core.paths import SHARE
from framework.core.source import Source

TWEETS = (
    b"1\t2.5\tLovely day.\r\n"
    b"2\t-0.5\tNot so good.\r\n"
    b'3\t0.49\tSome "quoted words.\r\n'
    b"4\t0.5\tFine.\r\n"
    b"5\tnone\tNo score.\r\n"
    b"6\t1.0\r\n"
    b"7\t7.0\tToo much.\r\n"
    b"8\t1.0\tcaf\xe9\r\n"
)
FILMS = b"1\t-3\tDreadful.\r\n2\t-2.5\tFine.\r\n3\t1\tCaf\xc3\xa9 life"


def archive(folder: Path, **members: bytes) -> Path:
    path = folder / "truth.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"set/{name}.txt")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def small(folder: Path, **fields: object) -> Vader:
    path = archive(
        folder, tweets_GroundTruth=TWEETS, films_GroundTruth=FILMS, tweets_anonDataRatings=b"1\t[1, 2]\n"
    )
    return Vader.model_validate({"source": str(path), "test_rows": 2, **fields})


def labels(lines: list[Line]) -> dict[str, str]:
    return {line.raw["text"]: line.raw["label"] for line in lines if line.problem is None}


def test_scores_become_labels_at_the_thresholds(tmp_path: Path) -> None:
    data = small(tmp_path)
    assert labels([*data.read("train"), *data.read("test")]) == {
        "Lovely day.": "positive",
        "Not so good.": "negative",
        'Some "quoted words.': "neutral",
        "Fine.": "negative",  # films come before tweets, and the first score counts
        "Dreadful.": "negative",
        "Café life": "positive",
    }
    wider = small(tmp_path, positive_threshold=3, negative_threshold=-3)
    assert labels([*wider.read("train"), *wider.read("test")])["Lovely day."] == "neutral"


def test_test_rows_are_held_out_and_the_order_is_fixed(tmp_path: Path) -> None:
    data = small(tmp_path)
    train, test = list(data.read("train")), list(data.read("test"))
    assert (len(labels(train)), len(test)) == (4, 2)
    assert not set(labels(train)) & set(labels(test))
    assert train == list(data.read("train"))
    assert all(canonical(line.raw) == line.raw for line in test)


def test_every_broken_line_is_reported(tmp_path: Path) -> None:
    data = small(tmp_path)
    lines = [*data.read("train"), *data.read("test")]
    assert len(lines) == 8 + 3
    problems = {line.number: line.problem for line in lines if line.problem}
    tweets, films = (f"truth.tar.gz/set/{name}_GroundTruth.txt" for name in ("tweets", "films"))
    assert {line.file for line in lines} == {tweets, films}
    assert problems[4] == f"same text as {films}:2"
    assert "none" in (problems[5] or "")
    assert "id, score and text" in (problems[6] or "")
    assert "not between -4 and 4" in (problems[7] or "")
    assert "utf-8" in (problems[8] or "")


@pytest.mark.parametrize(
    ("test_rows", "message"),
    [(6, "6 distinct texts leave none to train on"), (60, "set data.test_rows below")],
)
def test_too_many_test_rows_are_rejected(tmp_path: Path, test_rows: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(small(tmp_path, test_rows=test_rows).read("test"))


def test_a_foreign_or_damaged_archive_is_rejected(tmp_path: Path) -> None:
    foreign = archive(tmp_path, readme=b"hello")
    with pytest.raises(DataError, match="no member ends in _GroundTruth"):
        list(Vader(source=Source(url=str(foreign))).read("train"))
    whole = archive(tmp_path, tweets_GroundTruth=TWEETS * 500)
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a complete tar file"):
        list(Vader(source=Source(url=str(whole))).read("train"))


def test_thresholds_may_not_cross() -> None:
    with pytest.raises(ValidationError):
        Vader(positive_threshold=-1)


@pytest.mark.slow
def test_the_real_archive(option: object) -> None:
    data = Vader.model_validate(option)
    train, test = list(data.read("train")), list(data.read("test"))
    problems = [line for line in train if line.problem]
    assert (len(train) + len(test), len(test), len(problems)) == (23_703, 1000, 84)
    assert all("same text as" in (line.problem or "") for line in problems)
    assert len(problems) / 23_703 <= data.max_rejected
    assert len({line.file for line in test}) == 4
    assert {canonical(line.raw)["label"] for line in test} == {"positive", "neutral", "negative"}


@pytest.fixture
def option() -> object:
    option = yaml.safe_load((SHARE / "conf/data/vader.yaml").read_text())
    assert option.pop("_target_") == "framework.build.data.vader.Vader"
    return option
