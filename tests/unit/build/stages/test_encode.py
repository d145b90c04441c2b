import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.files import Files
from framework.build.data.shards import read_shards, split_sha256
from framework.build.model import Model
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.training.batches import read_examples
from framework.core.errors import DataError

Prepare = Callable[..., Path]
GOOD = {"prompt": "Is 1 even or odd?", "completion": "odd"}
GOOD_TURNS = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "odd"}]
OTHER = {"prompt": "Is 2 even or odd?", "completion": "even"}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.fixture
def prepare(
    prepare_rows: Callable[..., Path],
    tiny_model: Model,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Prepare:
    """Run both data stages on the text of two JSONL files in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))

    def call(
        train: str,
        test: str = lines(OTHER),
        model: Model = tiny_model,
        base: Path = tiny_base,
        **options: Any,
    ) -> Path:
        Path("train.jsonl").write_text(train, encoding="utf-8")
        Path("test.jsonl").write_text(test, encoding="utf-8")
        output = tmp_path / "output"
        shutil.rmtree(output, ignore_errors=True)
        data = Files(train="train.jsonl", test="test.jsonl", **{"max_length": 128, **options})
        return prepare_rows(data, model, base, output)

    return call


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads((folder / "summary.json").read_text())
    return found


def test_rows_rejected_by_reading_count_too(prepare: Prepare, capsys: pytest.CaptureFixture[str]) -> None:
    train = lines(*[GOOD] * 7, "{broken", {"prompt": "long " * 90, "completion": "odd"})
    folder = prepare(train, max_rejected=0.3)
    assert [(entry["file"], entry["line"]) for entry in rejected(folder)] == [
        ("train.jsonl", 8),
        ("train.jsonl", 9),
    ]
    assert summary(folder)["train"]["rejected"] == 2
    assert capsys.readouterr().out.count("rejected train.jsonl:8:") == 1  # by the stage that rejected it
    with pytest.raises(DataError) as caught:
        prepare(train, max_rejected=0.15)  # one of nine is allowed, two are not
    assert "2 of 9 rows" in str(caught.value)
    assert "\n  train.jsonl:8: " in str(caught.value)
    assert "\n  train.jsonl:9: " in str(caught.value)


def test_no_usable_row_names_the_first_reason(prepare: Prepare) -> None:
    long = {"prompt": "long " * 90, "completion": "odd"}
    with pytest.raises(DataError, match=r"no usable row in split 'test'; .*test.jsonl:1: \d+ tokens"):
        prepare(lines(GOOD), lines(long), max_rejected=1.0)


def test_shards_keep_text_tokens_and_origins_together(
    prepare: Prepare, tiny_model: Model, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"Is {n} even or odd?", "completion": "odd"} for n in range(10)]
    rows[4]["prompt"] *= 20
    whole = prepare(lines(*rows), max_rejected=0.5)
    texts, digest = [row.text for row in read_shards(whole, "train")], summary(whole)["train"]["sha256"]
    monkeypatch.setattr("framework.build.data.shards.ROWS_PER_SHARD", 4)
    folder = prepare(lines(*rows), max_rejected=0.5)
    assert [file.name for file in sorted((folder / "train").iterdir())] == [
        f"0000{number}.{suffix}" for number in range(3) for suffix in ("jsonl", "safetensors")
    ]
    sourced = list(read_shards(folder, "train"))
    assert [row.line for row in sourced] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [row.text for row in sourced] == texts
    assert summary(folder)["train"]["sha256"] == digest == split_sha256(folder, "train")
    assert all(text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True) for text in texts)
    tokenizer, examples = tiny_model.tokenizer(tiny_base), read_examples(folder / "train")
    assert len(examples) == len(sourced)
    for row, (ids, labels) in zip(sourced, examples, strict=True):
        assert [ids.tolist(), labels.tolist()] == list(tiny_model.encode(tokenizer, row.row)[0])


def test_a_row_that_is_too_long_names_the_override(prepare: Prepare) -> None:
    long = {"prompt": "Is 1 even or odd? " * 10, "completion": "odd"}
    folder = prepare(lines(GOOD, long), max_rejected=0.5)
    (entry,) = rejected(folder)
    assert entry["line"] == 2
    assert entry["reason"].endswith(
        "tokens, more than data.max_length=128; raise it or set data.too_long=truncate"
    )
    assert summary(folder)["train"]["longest"] <= 128


def test_truncating_keeps_what_fits(prepare: Prepare) -> None:
    long_answer = {"prompt": "Is 1 even or odd?", "completion": "odd " * 60}
    long_prompt = {"prompt": "Is 1 even or odd? " * 20, "completion": "odd"}
    folder = prepare(lines(GOOD, long_answer, long_prompt), too_long="truncate", max_rejected=0.5)
    examples = read_examples(folder / "train")
    assert [len(ids) for ids, _ in examples][1] == 128
    assert [len(labels) for _, labels in examples][1] == 128
    (entry,) = rejected(folder)
    assert entry["line"] == 3
    assert "no label is left to learn from" in entry["reason"]


def test_max_length_beyond_the_context_is_rejected(prepare: Prepare, tiny_base: Path, tmp_path: Path) -> None:
    prepare(lines(GOOD), max_length=512)
    with pytest.raises(DataError, match=r"^data\.max_length=513 .* set data\.max_length=512$"):
        prepare(lines(GOOD), max_length=513)
    for config, limit in (
        ({"n_positions": 100, "model_type": "gpt2"}, 100),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1}, 512),
    ):
        base = tmp_path / "other"
        shutil.copytree(tiny_base, base, dirs_exist_ok=True)
        prepare(lines(GOOD), max_length=limit)
        (base / "config.json").write_text(json.dumps(config))
        with pytest.raises(DataError, match=f"set data.max_length={limit}$"):
            prepare(lines(GOOD), base=base, max_length=limit + 1)


def test_any_max_length_fits_an_unknown_context(prepare: Prepare, tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "other"
    shutil.copytree(tiny_base, base)
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    prepare(lines(GOOD), base=base, max_length=4096)


def test_labels_are_the_answer_and_its_end(prepare: Prepare, tiny_model: Model, tiny_base: Path) -> None:
    rows = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1?"},
            {"role": "assistant", "content": "odd"},
            {"role": "user", "content": "2?"},
            {"role": "assistant", "content": "even"},
        ]
    }
    folder = prepare(lines(rows))
    ((ids, labels),) = read_examples(folder / "train")
    tokenizer = tiny_model.tokenizer(tiny_base)
    kept = [int(label) for label in labels if label != -100]
    assert tokenizer.decode(kept) == "odd<|im_end|>even<|im_end|>"
    assert [int(i) for i, label in zip(ids, labels, strict=True) if label != -100] == kept
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_every_classification_label_is_checked(
    prepare: Prepare, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SequenceClassification(
        name="bert",
        license="x",
        parameters=1e4,
        source=f"file://{tiny_bert}",
        labels=("negative", "neutral", "positive"),
    )
    train = lines(
        {"text": "a good film", "label": "positive"},
        {"text": "a bad film", "label": "negatve"},
        {"text": "a fine film", "label": "awful"},
        {"text": "a film"},
        GOOD,
    )
    test = lines({"text": "a film", "label": "neutral"})
    folder = prepare(train, test, model=model, base=tiny_bert, max_length=16, max_rejected=0.9)
    assert [entry["reason"] for entry in rejected(folder)] == [
        "label 'negatve' is not in model.labels; did you mean 'negative'?",
        "label 'awful' is not in model.labels; known are negative, neutral, positive",
        "classification needs 'text' and 'label'",
        "classification needs 'text' and 'label'",
    ]
    ((_, label),) = read_examples(folder / "train")
    assert label.tolist() == [2]
    long = lines({"text": "a film " * 30, "label": "neutral"})
    both = prepare(train + long, test, model=model, base=tiny_bert, max_length=16, max_rejected=0.9)
    labels = json.loads((both / "summary.json").read_text())["train"]["labels"]
    assert labels == {"negative": 0, "neutral": 0, "positive": 1}
    folder = prepare(long, test, model=model, base=tiny_bert, max_length=16, too_long="truncate")
    ((ids, label),) = read_examples(folder / "train")
    assert len(ids) == 16
    assert ids[-1] == 3  # [SEP], where the encoder expects it
    assert label.tolist() == [1]


def test_bytes_depend_on_the_rows_alone(prepare: Prepare) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    train = lines(GOOD, {"prompt": "ünïcode", "completion": "\u2028"}, {"prompt": "a", "completion": "b"})
    first = contents(prepare(train, max_rejected=0.5))
    assert contents(prepare(train, max_rejected=0.5)) == first
    names = ("{}/00000.jsonl", "{}/00000.safetensors", "origins/{}/00000.jsonl")
    assert set(first) == {
        *(name.format(split) for name in names for split in ("train", "test")),
        "rejected.jsonl",
        "summary.json",
    }


def test_conversation_becomes_a_row_an_answer_where_turns_are_rewritten(
    prepare: Prepare, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ 'so: ' if m.role == 'assistant' and loop.last }}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
    )
    roles = ("user", "assistant")
    talk = {"messages": [{"role": roles[at % 2], "content": f"turn {at}"} for at in range(4)]}
    folder = prepare(lines(GOOD, talk), base=base)
    assert summary(folder)["train"]["rows"] == 3
    assert [row.line for row in read_shards(folder, "train")] == [1, 2, 2]
    assert "train: 2 conversations gave 3 rows" in capsys.readouterr().out
    # One of 3 rows that were read is rejected, in part or whole: not one of 4, or two of 4.
    talk["messages"][0]["content"] = "turn 0 " * 20
    for bad, reason in ((talk, "2 of its 2 answers: "), ({"prompt": "a" * 200, "completion": "b"}, "")):
        train = lines(GOOD, {"messages": [*GOOD_TURNS, *GOOD_TURNS]}, bad)
        folder = prepare(train, base=base, max_rejected=0.34)
        assert [entry["reason"].startswith(reason) for entry in rejected(folder)] == [True]
        counted = summary(folder)["train"]
        assert [counted[name] for name in ("sources", "rows", "rejected")] == [2, 3, 1]
        with pytest.raises(DataError, match="1 of 3 rows of split 'train'"):
            prepare(train, base=base, max_rejected=0.3)


def test_held_out_rows_are_measured_on_answers(prepare: Prepare) -> None:
    folder = prepare(lines(GOOD), loss_on="all")
    ((ids, labels),) = read_examples(folder / "train")
    assert int((labels >= 0).sum()) == len(ids) - 1
    ((ids, labels),) = read_examples(folder / "test")
    assert int((labels >= 0).sum()) == len("even") + 1


def test_preferences_do_not_mix_with_other_rows(prepare: Prepare) -> None:
    pair = {"prompt": "1?", "chosen": "odd", "rejected": "even"}
    folder = prepare(lines(pair, GOOD, pair), max_rejected=0.5)
    assert [entry["line"] for entry in rejected(folder)] == [2]
    assert [len(parts) for parts in read_examples(folder / "train")] == [4, 4]


def test_the_label_of_an_answer_reaches_the_tokens(prepare: Prepare) -> None:
    good, bad = {"messages": [*GOOD_TURNS, *GOOD_TURNS], "label": True}, {**GOOD, "label": False}
    folder = prepare(lines(good, GOOD, bad), lines({**OTHER, "label": True}), max_rejected=0.5)
    assert [entry["line"] for entry in rejected(folder)] == [2]
    assert [parts[2].tolist() for parts in read_examples(folder / "train")] == [[1], [0]]
    # As in a pair, only the last answer has a loss.
    assert [int((labels >= 0).sum()) for _, labels, _ in read_examples(folder / "train")] == [4, 4]
    answers = {split: counted["answers"] for split, counted in summary(folder).items()}
    assert answers == {"train": {"desirable": 1, "undesirable": 1}, "test": {"desirable": 1}}
    with pytest.raises(DataError, match=r"data\.loss_on=answers"):
        prepare(lines(good, bad), loss_on="all")
