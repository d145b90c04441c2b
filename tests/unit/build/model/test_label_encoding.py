"""Labeled rows with real tokenizers."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from framework.build.model.label_encoding import encode_class, encode_classes, encode_tags
from framework.build.model.sequence_classification import SequenceClassification
from framework.build.model.tiny_encoder import TinyEncoder
from framework.build.model.token_classification import TokenClassification
from framework.build.task import LABEL_MASK as M
from framework.core.errors import DataError

ABOUT = {"name": "tiny", "license": "Apache-2.0", "parameters": 1e5}


@pytest.fixture(scope="module")
def pieces(tiny_bert: Path):
    return AutoTokenizer.from_pretrained(tiny_bert)


def test_first_piece_of_a_word_has_its_tag(pieces) -> None:
    row = {"tokens": ["good", "filad", "a"], "tags": ["B-x", "I-x", "O"]}
    ids, labels = encode_tags(pieces, row, ["x", "y"])
    shown = pieces.convert_ids_to_tokens(ids)
    assert shown[0] == "[CLS]"
    assert shown[-1] == "[SEP]"
    assert len(shown) > 5  # one word has several pieces
    starts = [index for index, piece in enumerate(shown) if index and piece[:2] != "##" and piece != "[SEP]"]
    assert [labels[index] for index in starts] == [1, 3, 0]  # BIO became BIOES: the second word is the end
    assert all(label == M for index, label in enumerate(labels) if index not in starts)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "a"}, "needs 'tokens' and 'tags'"),
        ({"tokens": ["a"], "tags": ["S-z"]}, "label 'z' is not in model.entities; known are xylem, y"),
        ({"tokens": ["a"], "tags": ["S-xylen"]}, "did you mean 'xylem'?"),
        ({"tokens": ["a", "a"], "tags": ["O", "I-y"]}, "tag 2 is 'I-y', but no span of y is open there"),
        ({"tokens": ["a", "\u200b"], "tags": ["O", "O"]}, r"drops the word '\\u200b'"),
    ],
)
def test_untaggable_rows_are_rejected(pieces, row, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        encode_tags(pieces, row, ["xylem", "y"])


def test_multiple_classes_become_ones(pieces) -> None:
    labels = ("a", "b", "c")
    assert encode_classes(pieces, {"text": "film", "labels": ["c", "a"]}, labels)[1] == [1, 0, 1]
    assert encode_classes(pieces, {"text": "film", "labels": []}, labels)[1] == [0, 0, 0]
    assert encode_classes(pieces, {"text": "film", "label": "b"}, labels)[1] == [0, 1, 0]
    with pytest.raises(DataError, match=r"label 'd' is not in model.labels"):
        encode_classes(pieces, {"text": "film", "labels": ["d"]}, labels)
    with pytest.raises(DataError, match="needs 'text' and 'labels'"):
        encode_classes(pieces, {"text": "film"}, labels)


@pytest.mark.parametrize("encode", [encode_class, encode_classes])
def test_image_of_a_text_is_not_dropped(pieces, encode) -> None:
    with pytest.raises(DataError, match="'image'"):
        encode(pieces, {"text": "film", "label": "a", "image": "a.png"}, ("a", "b"))


def test_encoder_gets_the_head_of_its_problem(tiny_bert: Path, tmp_path: Path) -> None:
    import json

    source = f"file://{tiny_bert}"
    several = SequenceClassification(**ABOUT, source=source, labels=("a", "b"), problem="multi-label")
    several.materialize(tmp_path / "several", seed=0)
    config = json.loads((tmp_path / "several" / "config.json").read_text())
    assert several.task == "multi-label-classification"
    assert config["problem_type"] == "multi_label_classification"
    tagger = TokenClassification(**ABOUT, source=source, entities=("x",))
    tagger.materialize(tmp_path / "tagger", seed=0)
    config = json.loads((tmp_path / "tagger" / "config.json").read_text())
    assert list(config["id2label"].values()) == ["O", "B-x", "I-x", "E-x", "S-x"]
    assert config["architectures"] == ["BertForTokenClassification"]
    assert tagger.open(tmp_path / "tagger").classifier.out_features == 5


@pytest.mark.parametrize("problem", ["single-label", "multi-label", "entities"])
def test_tiny_encoder_is_deterministic(problem: str, tmp_path: Path) -> None:
    model = TinyEncoder(**ABOUT, labels=("a", "b"), problem=problem)
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        model.materialize(tmp_path / name, seed)
    weights = {
        name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other")
    }
    assert weights["one"] == weights["same"] != weights["other"]
    words, text = {"tokens": ["ab", "c"], "tags": ["S-b", "O"]}, {"text": "a", "label": "b"}
    row = words if problem == "entities" else text
    ((ids, labels),) = model.encode(model.tokenizer(tmp_path / "one"), row)
    wanted = {"single-label": [1], "multi-label": [0, 1], "entities": [M, 8, M, 0, M]}
    assert labels == wanted[problem]
    assert len(ids) == (5 if problem == "entities" else 3)


@pytest.mark.parametrize("labels", [["pos", "neg", "pos"], ["1", 1], [True, False], [0.0, 1.0]])
def test_labels_that_are_no_distinct_names_are_rejected(labels) -> None:
    with pytest.raises(ValidationError, match=r"more than once|quote"):
        TinyEncoder(labels=labels, **ABOUT)


def test_integers_are_labels_as_rows_have_them() -> None:
    assert TinyEncoder(labels=[0, 1], **ABOUT).labels == ("0", "1")


@pytest.mark.parametrize(("label", "meant"), [("POS", "pos"), ("1.0", "1")])
def test_label_in_another_notation_is_guessed(pieces, label: str, meant: str) -> None:
    with pytest.raises(DataError, match=f"did you mean '{meant}'"):
        encode_classes(pieces, {"text": "film", "label": label}, ("pos", "1"))
