import json

import pytest

from framework.build.engine.model_folder import context_length, end_of_sequence, label_names, pad_token
from framework.core.errors import ServeError


def write(folder, **files) -> None:
    for name, body in files.items():
        (folder / f"{name}.json").write_text(json.dumps(body))


def test_generation_config_decides_the_end_tokens(tmp_path) -> None:
    assert end_of_sequence(tmp_path) == frozenset()
    write(tmp_path, config={"eos_token_id": 7})
    assert end_of_sequence(tmp_path) == {7}
    write(tmp_path, genai_config={"model": {"eos_token_id": [0]}})
    assert end_of_sequence(tmp_path) == {0}
    write(tmp_path, generation_config={"eos_token_id": [2, 3]})
    assert end_of_sequence(tmp_path) == {2, 3}


def test_token_zero_can_be_an_end_token(tmp_path) -> None:
    write(tmp_path, generation_config={"eos_token_id": 0}, config={"eos_token_id": 7})
    assert end_of_sequence(tmp_path) == {0}


def test_context_length_and_pad_token(tmp_path) -> None:
    assert context_length(tmp_path) is None
    write(tmp_path, config={"max_position_embeddings": 128, "pad_token_id": None})
    assert (context_length(tmp_path), pad_token(tmp_path)) == (128, 0)
    write(tmp_path, genai_config={"model": {"context_length": 64}})
    assert context_length(tmp_path) == 64


def test_roberta_reserves_positions_for_padding(tmp_path) -> None:
    write(tmp_path, config={"max_position_embeddings": 514, "model_type": "xlm-roberta", "pad_token_id": 1})
    assert context_length(tmp_path) == 512


def test_labels_are_ordered_and_complete(tmp_path) -> None:
    write(tmp_path, config={"id2label": {"1": "b", "0": "a", "10": "k"}})
    with pytest.raises(ServeError, match="id2label"):
        label_names(tmp_path)
    write(tmp_path, config={"id2label": {"1": "b", "0": "a"}})
    assert label_names(tmp_path) == ["a", "b"]
    write(tmp_path, config={})
    with pytest.raises(ServeError, match="id2label"):
        label_names(tmp_path)


def test_truncated_file_is_reported_in_one_line(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(ServeError, match="not JSON"):
        pad_token(tmp_path)
