"""Text-embedding models: every engine gives the same vectors, whatever rows are beside them."""

import numpy as np
import pytest

from framework.build.engine import Classifies, Embeds, open_engine, require
from framework.core.errors import ServeError

ROWS = [[257, 5, 258], [257, 6, 7, 8, 9, 10, 11, 258], [257, 258], [257, 5, 6, 258]]


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_a_vector_has_length_one_and_ignores_padding(tiny_embedding, name) -> None:
    engine = require(open_engine(name, tiny_embedding, 1), Embeds)
    vectors = engine.embed(ROWS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(ROWS), engine.dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T)[0, 1] < 0.99, "the rows must differ, or padding would go unnoticed"
    for row, expected in zip(ROWS, vectors, strict=True):
        np.testing.assert_allclose(engine.embed([row])[0], expected, atol=1e-5)


def test_vectors_are_the_mean_of_the_tokens_in_every_engine(tiny_embedding, tmp_path) -> None:
    import torch
    from transformers import BertModel

    from framework.build.export.openvino import OpenVino

    with torch.no_grad():
        hidden = BertModel.from_pretrained(tiny_embedding)(
            input_ids=torch.tensor([ROWS[1]])
        ).last_hidden_state
    mean = hidden[0].mean(0).numpy()
    OpenVino().write(tiny_embedding, tmp_path)
    for name, folder in (("torch", tiny_embedding), ("onnxruntime", tiny_embedding), ("openvino", tmp_path)):
        found = open_engine(name, folder, 1).embed(ROWS)
        np.testing.assert_allclose(found[1], mean / np.linalg.norm(mean), atol=1e-4, err_msg=name)


def test_an_embedding_model_does_not_classify(tiny_embedding) -> None:
    with pytest.raises(ServeError, match="classify"):
        require(open_engine("onnxruntime", tiny_embedding, 1), Classifies)
