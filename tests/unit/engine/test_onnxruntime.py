import pytest

from framework.core.errors import ServeError
from framework.engine import open_engine

ROWS = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 3]]


def test_scores_equal_those_of_torch(tiny_bert) -> None:
    import numpy as np

    expected = open_engine("torch", tiny_bert, 1).classify(ROWS)
    found = open_engine("onnxruntime", tiny_bert, 1).classify(ROWS)
    assert found.dtype == np.float32
    assert np.ptp(expected, axis=0).min() > 0.01, "the rows must differ, or padding would go unnoticed"
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_language_model_is_sent_to_its_engine(tiny_bert, tiny_genai) -> None:
    with pytest.raises(ServeError, match="open a language model with genai or torch"):
        open_engine("onnxruntime", tiny_genai)
    engine = open_engine("onnxruntime", tiny_bert, 1)
    with pytest.raises(ServeError, match="open a language model with genai or torch"):
        engine.generate([1], 1)


def test_a_missing_or_broken_graph_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ServeError, match="no such file"):
        open_engine("onnxruntime", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ServeError, match="ONNX Runtime cannot open it") as caught:
        open_engine("onnxruntime", tmp_path)
    assert "\n" not in str(caught.value)
