"""Embeddings and reranking over HTTP, with a real text-embedding model."""

import concurrent.futures
import random
import string

import httpx
import numpy as np
import pytest
from browser import chromium, needs_chromium
from server_process import eventually, serving, stopped

from framework.build.engine import Embeds, open_engine, require
from framework.core import metric_names as metrics
from framework.requestlog.log_folder import LogFolder
from framework.serving.answers.answer_use import SOURCE
from framework.serving.engine.tokenization import open_tokenizer
from framework.serving.vectors import read_vectors

TEXTS = ["a good film", "a bad film", "fine", "nothing is as it was before"]


@pytest.fixture(scope="module")
def embedder(tiny_embedding, tmp_path_factory):
    options = {"max_batch_size": 8, "batch_timeout": 0.05, "cache": {}, "jobs": {}}
    folder = tmp_path_factory.mktemp("embedder")
    options["request_log"] = {"folder": str(folder / "log"), "flush_seconds": 0.1}
    with serving(tiny_embedding, "onnxruntime", "text-embedding", folder, **options) as served:
        served.log = folder / "log"
        yield served


@pytest.fixture(scope="module")
def vector_of(tiny_embedding):
    """Returns the vector that the engine alone gives a text, or token ids."""
    engine = require(open_engine("onnxruntime", tiny_embedding, 1), Embeds)
    tokenizer = open_tokenizer(tiny_embedding)

    def vector_of(text):
        return engine.embed([tokenizer(text)["input_ids"] if isinstance(text, str) else text])[0]

    return vector_of


def post(served, path, **body):
    return httpx.post(f"{served.url}{path}", json=body, timeout=30)


def vectors(answer, **format):
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], np.float32)


def test_every_form_of_a_text_has_the_vector_of_the_engine(embedder, vector_of, tiny_embedding) -> None:
    wanted = [vector_of(text) for text in TEXTS]
    ids = [open_tokenizer(tiny_embedding)(text)["input_ids"] for text in TEXTS]
    together = post(embedder, "/v1/embeddings", model="tiny", input=TEXTS)
    np.testing.assert_allclose(vectors(together), wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors(together), axis=1), 1, atol=1e-5)
    tokens = sum(map(len, ids))
    assert together.json()["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert [each["index"] for each in together.json()["data"]] == [0, 1, 2, 3]
    for given, expected in ((TEXTS[0], wanted[:1]), (ids[0], wanted[:1]), (ids, wanted)):
        answer = post(embedder, "/v1/embeddings", input=given, dimensions=32, user="somebody")
        np.testing.assert_allclose(vectors(answer), expected, atol=1e-5)
    coded = post(embedder, "/v1/embeddings", input=TEXTS, encoding_format="base64").json()["data"]
    np.testing.assert_array_equal(read_vectors([each["embedding"] for each in coded]), vectors(together))
    # The client asks for base64 unless it is told otherwise.
    for options in ({}, {"encoding_format": "float"}):
        found = embedder.client.embeddings.create(model="tiny", input=TEXTS, **options)
        np.testing.assert_allclose([each.embedding for each in found.data], wanted, atol=1e-5)
        assert found.usage.prompt_tokens == tokens


def test_parallel_texts_get_their_own_vectors_and_share_batches(embedder, vector_of) -> None:
    before = [embedder.sample(f"{metrics.BATCH_ROWS}_{part}") for part in ("sum", "count")]
    drawn = random.Random(1)
    lists = [
        ["".join(drawn.choices(string.ascii_lowercase + " ", k=drawn.randint(1, 60))) for _ in range(size)]
        for size in (1, 5, 1, 12, 2, 7, 1, 3, 9, 1)
    ]
    with concurrent.futures.ThreadPoolExecutor(len(lists)) as pool:
        answers = pool.map(lambda texts: post(embedder, "/v1/embeddings", input=texts), lists)
        for texts, answer in zip(lists, answers, strict=True):
            np.testing.assert_allclose(vectors(answer), [vector_of(text) for text in texts], atol=1e-5)
    after = [embedder.sample(f"{metrics.BATCH_ROWS}_{part}") for part in ("sum", "count")]
    rows, texts = (new - old for new, old in zip(after, before, strict=True))
    assert texts == 42
    assert rows / texts > 2, "texts share batches"


def test_what_does_not_fit_is_refused_by_name_or_cut(embedder, vector_of, tiny_embedding) -> None:
    long = "word " * 40
    ids = open_tokenizer(tiny_embedding)(long)["input_ids"]
    for fields, param, named in (
        ({"input": ["fine", long]}, "input", str(len(ids))),
        ({"input": ids}, "input", str(len(ids))),
        ({"input": "word " * 1000}, "input", "5000 characters"),
        ({"input": [99999]}, "input", "99999"),
        ({"input": ""}, "input", ""),
        ({"input": "a", "dimensions": 16}, "dimensions", "32"),
        ({"input": long, "truncate_prompt_tokens": 129}, "truncate_prompt_tokens", "128"),
    ):
        refused = post(embedder, "/v1/embeddings", **fields)
        error = refused.json()["error"]
        assert refused.status_code == 400
        assert error["param"].startswith(param)
        assert named in error["message"]
    for asked, tokens in ((-1, 128), (20, 20)):
        cut = post(embedder, "/v1/embeddings", input=long, truncate_prompt_tokens=asked)
        assert cut.json()["usage"]["prompt_tokens"] == tokens
        np.testing.assert_allclose(vectors(cut), [vector_of([*ids[: tokens - 1], ids[-1]])], atol=1e-5)
    assert post(embedder, "/v1/embeddings", model="other", input="a").status_code == 404


def test_documents_are_sorted_by_their_cosine_to_the_query(embedder, vector_of) -> None:
    query, documents = "good", [TEXTS[0], {"text": TEXTS[1]}, *TEXTS[2:]]
    cosines = [float(vector_of(query) @ vector_of(text)) for text in TEXTS]
    order = sorted(range(4), key=lambda index: -cosines[index])
    for path in ("/v1/rerank", "/rerank"):
        answer = post(embedder, path, model="tiny", query=query, documents=documents).json()
        results = answer["results"]
        assert [each["index"] for each in results] == order
        assert [each["document"]["text"] for each in results] == [TEXTS[index] for index in order]
        scores = [each["relevance_score"] for each in results]
        assert scores == pytest.approx([cosines[index] for index in order], abs=1e-5)
        assert (
            answer["usage"]["total_tokens"] == sum(map(len, [query, *TEXTS])) + 2 * 5
        )  # bytes, and two ends
    best = post(embedder, "/rerank", query=query, documents=documents, top_n=2, return_documents=False).json()
    assert [sorted(each) for each in best["results"]] == [["index", "relevance_score"]] * 2
    same = post(embedder, "/rerank", query="same", documents=["same"], top_n=9).json()["results"]
    assert same[0]["relevance_score"] == pytest.approx(1)
    assert same[0]["relevance_score"] <= 1


def test_vectors_are_cached_for_both_endpoints(embedder) -> None:
    first = post(embedder, "/v1/embeddings", input=["once", "twice"])
    with stopped(embedder):
        again = post(embedder, "/v1/embeddings", input=["twice", "once"], encoding_format="base64")
        ranked = post(embedder, "/v1/rerank", query="once", documents=["twice"])
    assert (first.headers[SOURCE], again.headers[SOURCE], ranked.headers[SOURCE]) == (
        "model",
        "memory",
        "memory",
    )
    np.testing.assert_array_equal(
        read_vectors([each["embedding"] for each in again.json()["data"]]), vectors(first)[::-1]
    )


def test_server_describes_what_it_does(embedder) -> None:
    described = httpx.get(f"{embedder.url}/v1/release").json()
    assert (described["answers"], described["dimensions"], described["context"]) == ("vectors", 32, 128)
    document = httpx.get(f"{embedder.url}/openapi.json").json()
    assert {"/v1/embeddings", "/v1/rerank", "/rerank", "/tokenize"} <= document["paths"].keys()
    fields = document["components"]["schemas"]["EmbeddingRequest"]["properties"]
    assert fields["dimensions"]["enum"] == [None, 32]
    assert {"type": "integer", "minimum": 1, "maximum": 128} in fields["truncate_prompt_tokens"]["anyOf"]
    assert embedder.sample(metrics.PROMPT_TOKENS) > 0
    for path in ("/v1/classify", "/v1/chat/completions"):
        assert post(embedder, path, input="a").status_code == 404


def test_vectors_are_computed_in_the_background(embedder, vector_of) -> None:
    body = {"model": "tiny", "input": "in the background"}
    job = post(embedder, "/v1/jobs", url="/v1/embeddings", body=body).json()

    def state():
        return httpx.get(f"{embedder.url}/v1/jobs/{job['id']}").json()

    assert eventually(lambda: state()["status"] == "completed"), state()
    (found,) = state()["result"]["data"]
    np.testing.assert_allclose(found["embedding"], vector_of("in the background"), atol=1e-5)


def test_log_has_texts_and_no_vectors(embedder) -> None:
    asked = post(embedder, "/v1/embeddings", input=["mail ann@example.com", "kept"]).json()["id"]
    post(embedder, "/v1/embeddings", input=[[5, 6]])

    def rows():
        return {row["id"]: row for _, _, row in LogFolder(str(embedder.log)).read("requests")}

    assert eventually(lambda: f"{asked}-1" in rows() and any(row["text"] is None for row in rows().values()))
    first, second = (rows()[f"{asked}-{number}"] for number in range(2))
    assert (first["text"], second["text"]) == ("mail [EMAIL]", "kept")
    assert (second["answer"], second["prompt_tokens"], second["route"]) == (None, 6, "/v1/embeddings")


@needs_chromium
def test_page_compares_two_texts(embedder, vector_of) -> None:
    with chromium() as tab:
        browser = tab()
        browser.open(f"{embedder.url}/")
        browser.until("!document.querySelector('#try').hidden")
        assert "Dimensions" in browser.text("#facts")
        for field, text in (("text", "a good film"), ("other", "a bad film")):
            browser.evaluate(f"document.querySelector('#{field}').focus()")
            browser.type(text)
        browser.key("Enter", "\r")
        browser.until("document.querySelector('.figures')")
        cosine = float(vector_of("a good film") @ vector_of("a bad film"))
        shown = browser.evaluate("document.querySelector('meter').value")
        assert shown == pytest.approx(cosine, abs=1e-5)
        assert f"{cosine:.3f}" in browser.text(".scores")
        for width in (390, 1280):
            browser.resize(width)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.complaints == []
