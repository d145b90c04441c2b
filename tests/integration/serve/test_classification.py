"""The classification API over HTTP."""

import concurrent.futures

import httpx
import pytest
from server_process import serving

from framework.build.engine import open_engine
from framework.core import metric_names as metrics
from framework.serving.engine.tokenization import open_tokenizer


def test_classify_equals_the_engine_and_batches_requests(tiny_bert, tmp_path) -> None:
    options = {"max_batch_size": 8, "batch_timeout": 0.3}
    texts = ["a good film", "a bad film", "fine", "a a a film good"]
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path, **options) as served:
        tokenizer = open_tokenizer(tiny_bert)
        rows = [tokenizer(text)["input_ids"] for text in texts]
        scores = open_engine("onnxruntime", tiny_bert, 1).classify(rows)
        names = ["negative", "neutral", "positive"]

        def ask(texts: object) -> httpx.Response:
            return httpx.post(f"{served.url}/v1/classify", json={"input": texts}, timeout=20)

        together = ask(texts).json()
        assert [row["label"] for row in together["data"]] == [names[best] for best in scores.argmax(-1)]
        assert sum(together["data"][0]["scores"].values()) == pytest.approx(1)
        assert together["usage"]["prompt_tokens"] == sum(map(len, rows))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            separate = [answer.json()["data"][0] for answer in pool.map(ask, texts)]
        for alone, batched in zip(separate, together["data"], strict=True):
            assert alone["scores"] == pytest.approx(batched["scores"], abs=1e-5)
        assert served.sample(f"{metrics.BATCH_ROWS}_bucket", 'le="1.0"') < 4, "no requests were batched"
        long = ask(["fine", "film " * 60])
        assert long.status_code == 400
        assert "32" in long.json()["error"]["message"]
        assert ask([]).status_code == 400
        alias = httpx.post(f"{served.url}/classify", json={"input": texts}).json()
        assert [row["label"] for row in alias["data"]] == [row["label"] for row in together["data"]]
        assert served.sample(metrics.REQUESTS, 'route="/classify"', "200") == 1
        told = httpx.post(f"{served.url}/tokenize", json={"prompt": "a good film"}).json()
        assert (told["tokens"], told["max_model_len"]) == (rows[0], 32)
        assert httpx.post(f"{served.url}/v1/chat/completions", json={}).status_code == 404
