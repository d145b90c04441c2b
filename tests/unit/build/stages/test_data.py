import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from framework.build.data.files import Files
from framework.build.model import Model
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.stages.data import PrepareData
from framework.build.training.batches import read_examples
from framework.core.errors import DataError
from framework.core.step import Workspace

Prepare = Callable[..., Path]
GOOD = {"prompt": "Is 1 even or odd?", "completion": "odd"}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@pytest.fixture
def prepare(tiny_model: Model, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Run the stage on the text of two JSONL files in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))

    def call(
        train: str,
        test: str = lines(GOOD),
        model: Model = tiny_model,
        base: Path = tiny_base,
        **options: Any,
    ) -> Path:
        Path("train.jsonl").write_text(train, encoding="utf-8")
        Path("test.jsonl").write_text(test, encoding="utf-8")
        output = tmp_path / "output"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        data = Files(train="train.jsonl", test="test.jsonl", **{"max_length": 128, **options})
        PrepareData(data=data, model=model).run({"model": base}, output, Workspace(tmp_path))
        return output

    return call


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads((folder / "summary.json").read_text())
    return found


def test_rejected_rows_are_named_counted_and_kept_out(
    prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    train = lines(GOOD, {"prompt": "Is 2 even?", "completion": ""}, "{broken", GOOD, {"promt": "a"}, "", GOOD)
    folder = prepare(train, max_rejected=0.9)
    found = rejected(folder)
    assert [(entry["split"], entry["file"], entry["line"]) for entry in found] == [
        ("train", "train.jsonl", 2),
        ("train", "train.jsonl", 3),
        ("train", "train.jsonl", 5),
        ("train", "train.jsonl", 6),
    ]
    assert found[3]["reason"] == "empty line"
    assert found[0]["reason"] == "empty completion"
    assert "did you mean 'prompt'" in found[2]["reason"]
    counted = summary(folder)
    assert counted["train"]["rows"] == 3
    assert counted["train"]["rejected"] == 4
    assert counted["test"] == {**counted["test"], "rows": 1, "rejected": 0}
    printed = capsys.readouterr().out
    assert "  rejected train.jsonl:2: empty completion\n" in printed
    assert len((folder / "train.jsonl").read_text().splitlines()) == 3
    assert len(read_examples(folder / "train.safetensors")) == 3


def test_only_the_first_five_are_shown_but_all_are_written(
    prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepare(lines(*[GOOD] * 3, *[{"prompt": "a", "completion": ""}] * 8), max_rejected=1.0)
    printed = capsys.readouterr().out
    assert printed.count("  rejected ") == 5
    assert "… and 3 more; all are in rejected.jsonl" in printed
    assert len(rejected(folder)) == 8


def test_too_many_rejected_rows_stop_the_plan(prepare: Prepare) -> None:
    train = lines(*[GOOD] * 8, {"prompt": "a", "completion": ""})
    with pytest.raises(DataError) as caught:
        prepare(train, max_rejected=0.05)
    assert str(caught.value) == (
        "data: 1 of 10 rows were rejected, more than data.max_rejected=0.05 allows; mend them or raise it:\n"
        "  train.jsonl:9: empty completion"
    )
    prepare(train, max_rejected=0.1)  # exactly the share that is allowed


def test_no_usable_row_names_the_first_reason(prepare: Prepare) -> None:
    with pytest.raises(DataError, match=r"no usable row in split 'test'; .*test.jsonl:1: empty completion"):
        prepare(lines(GOOD), lines({"prompt": "a", "completion": ""}), max_rejected=1.0)
    with pytest.raises(DataError, match=r"no usable row in split 'train'$"):
        prepare("\n\n", max_rejected=1.0)


def test_a_row_that_is_too_long_is_rejected_with_the_override(prepare: Prepare) -> None:
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
    examples = read_examples(folder / "train.safetensors")
    assert [len(ids) for ids, _ in examples][1] == 128
    assert [len(labels) for _, labels in examples][1] == 128
    (entry,) = rejected(folder)
    assert entry["line"] == 3
    assert "nothing is left to learn from" in entry["reason"]


def test_a_limit_beyond_the_models_is_refused_with_the_override(
    prepare: Prepare, tiny_base: Path, tmp_path: Path
) -> None:
    prepare(lines(GOOD), max_length=512)
    with pytest.raises(DataError, match=r"^data\.max_length=513 is more than the 512 tokens that tiny sees"):
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


def test_a_model_that_names_no_limit_takes_any(prepare: Prepare, tiny_base: Path, tmp_path: Path) -> None:
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
    ((ids, labels),) = read_examples(folder / "train.safetensors")
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
    ((_, label),) = read_examples(folder / "train.safetensors")
    assert label.tolist() == [2]
    long = lines({"text": "a film " * 30, "label": "neutral"})
    folder = prepare(long, test, model=model, base=tiny_bert, max_length=16, too_long="truncate")
    ((ids, label),) = read_examples(folder / "train.safetensors")
    assert len(ids) == 16
    assert ids[-1] == 3  # [SEP], where the encoder expects it
    assert label.tolist() == [1]


def test_the_bytes_depend_on_the_rows_alone(prepare: Prepare, tmp_path: Path) -> None:
    def everything(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    train = lines(GOOD, {"prompt": "ünïcode", "completion": "\u2028"}, {"prompt": "a", "completion": "b"})
    first = everything(prepare(train, max_rejected=0.5))
    assert everything(prepare(train, max_rejected=0.5)) == first
    assert set(first) == {
        "train.jsonl",
        "train.safetensors",
        "test.jsonl",
        "test.safetensors",
        "rejected.jsonl",
        "summary.json",
    }
    tensors = load_file(tmp_path / "output" / "train.safetensors")
    assert int(tensors["input_lengths"].sum()) == len(tensors["input_ids"])
