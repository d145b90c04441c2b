"""Text-embedding models: which sources become one, and how rows are encoded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from framework.build.engine import Embeds, open_engine, require
from framework.build.model.text_embedding import TextEmbedding
from framework.build.model.tiny_t5 import TinySeq2Seq
from framework.build.task.text_embedding import joined
from framework.core.errors import DataError, StepError


def model(source: Path) -> TextEmbedding:
    return TextEmbedding(name="made", license="Apache-2.0", parameters=1e5, source=str(source))


def made_of(source: Path, output: Path, seed: int = 0) -> Path:
    output.mkdir()
    model(source).materialize(output, seed)
    return output


def test_a_classifier_becomes_an_embedding_model_without_its_head(tiny_bert, tmp_path, capsys) -> None:
    folder = made_of(tiny_bert, tmp_path / "made")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    engine = require(open_engine("torch", folder, 1), Embeds)
    assert engine.dimensions == 32
    assert engine.embed([[2, 5, 3]]).shape == (1, 32)
    assert "pooling" not in capsys.readouterr().out
    again = made_of(tiny_bert, tmp_path / "again")
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (again / weights).read_bytes()


def test_vectors_of_an_embedding_model_stay_as_they_are(tiny_embedding, tmp_path) -> None:
    folder = made_of(tiny_embedding, tmp_path / "made")
    rows = [[257, 5, 258], [257, 6, 7, 258]]
    expected = open_engine("torch", tiny_embedding, 1).embed(rows)
    np.testing.assert_array_equal(open_engine("torch", folder, 1).embed(rows), expected)


def test_another_pooling_is_named(tiny_embedding, tmp_path, capsys) -> None:
    source = shutil.copytree(tiny_embedding, tmp_path / "source")
    for mean, named in ((True, False), (False, True)):
        (source / "1_Pooling").mkdir(exist_ok=True)
        (source / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": mean}))
        made_of(source, tmp_path / f"mean-{mean}")
        assert ("another pooling" in capsys.readouterr().out) == named


def test_an_encoder_decoder_is_refused(tmp_path) -> None:
    source = tmp_path / "t5"
    source.mkdir()
    TinySeq2Seq(name="t5", license="Apache-2.0", parameters=1e5).materialize(source, 0)
    with pytest.raises(StepError, match=r"model\.source: .*has a decoder"):
        made_of(source, tmp_path / "made")


def test_a_row_is_its_texts_end_to_end(tiny_embedding) -> None:
    option = model(tiny_embedding)
    tokenizer = option.tokenizer(tiny_embedding)
    row = {"query": "a", "passage": "bc", "negatives": ["d"]}
    texts = [tokenizer(text)["input_ids"] for text in ("a", "bc", "d")]
    assert option.encode(tokenizer, row) == [joined(texts)]
    assert len(texts[1]) == 4, "each text has a start and an end"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a"}, "needs 'query' and 'passage'"),
        ({"query": "a", "passage": "b", "label": "c"}, "does not learn 'label'"),
    ],
)
def test_rows_of_other_tasks_are_refused(tiny_embedding, row, said) -> None:
    option = model(tiny_embedding)
    with pytest.raises(DataError, match=said):
        option.encode(option.tokenizer(tiny_embedding), row)


def test_other_models_refuse_queries(tiny_model, tiny_base) -> None:
    with pytest.raises(DataError, match="text embedding"):
        tiny_model.encode(tiny_model.tokenizer(tiny_base), {"query": "a", "passage": "b"})
