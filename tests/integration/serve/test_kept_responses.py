"""Responses that a server keeps, and conversations that go on from them."""

import contextlib
import hashlib
import json
from collections.abc import Iterator

import httpx
import jsonschema
import openai
import pytest
from server_process import Served, eventually, serving, stopped

QUESTION = {"role": "user", "content": "hello world"}


@pytest.fixture(scope="module")
def served(tiny_genai, tmp_path_factory) -> Iterator[Served]:
    """A server with two keys, each named as its secret is."""
    folder = tmp_path_factory.mktemp("kept")
    keys = folder / "keys.json"
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    keys.write_text(
        json.dumps({"keys": [{"name": name, "hash": f"sha256:{each}"} for name, each in hashes.items()]})
    )
    options = {"max_new_tokens": 8, "max_batch_size": 4, "jobs": {"max_queued": 2}, "keys": str(keys)}
    with serving(tiny_genai, "genai", "causal-lm", folder, **options) as served:
        yield served


@pytest.fixture(scope="module")
def clients(served) -> Iterator[dict[str, openai.OpenAI]]:
    """The clients of both keys."""
    url = f"{served.url}/v1"
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(openai.OpenAI(base_url=url, api_key=name, max_retries=0, timeout=30))
            for name in ("ann", "bob")
        }


def call(served: Served, method: str, path: str, name: str = "ann", **sent: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {name}", **sent.pop("headers", {})}
    return httpx.request(method, f"{served.url}{path}", headers=headers, timeout=30, **sent)


def test_a_stored_response_is_read_listed_and_erased_by_its_key_alone(served, clients) -> None:
    responses = clients["ann"].responses
    created = responses.create(model="tiny", input="hello world", store=True, metadata={"k": "v"})
    assert (created.store, created.background) == (True, False)
    assert responses.retrieve(created.id).to_dict() == created.to_dict()
    others = clients["bob"].responses
    for ask in (others.retrieve, others.delete, others.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask(created.id)
    (item,) = responses.input_items.list(created.id).data
    assert (item.role, item.content[0].text) == ("user", "hello world")
    erased = call(served, "DELETE", f"/v1/responses/{created.id}")
    assert erased.json() == {"id": created.id, "object": "response", "deleted": True}
    for ask in (responses.retrieve, responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(created.id)
    passing = responses.create(model="tiny", input="hello world", extra_headers={"X-Request-Id": created.id})
    assert (passing.id, passing.store) == (created.id, False)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(passing.id)


def test_a_streamed_response_is_stored_when_it_is_told_to_have_ended(served, clients) -> None:
    responses = clients["ann"].responses
    for event in responses.create(model="tiny", input="hello", store=True, stream=True):
        if event.type in ("response.completed", "response.incomplete"):
            assert responses.retrieve(event.response.id).to_dict() == event.response.to_dict()
            break
    else:
        raise AssertionError("the response did not end")


def test_a_conversation_goes_on_without_earlier_instructions(served, clients) -> None:
    responses = clients["ann"].responses
    first = responses.create(model="tiny", input="hello world", instructions="hi hi hi", store=True)
    said = {"role": "assistant", "content": first.output_text}
    again = {"role": "user", "content": "go on"}
    second = responses.create(model="tiny", input="go on", previous_response_id=first.id, store=True)
    whole = responses.create(model="tiny", input=[QUESTION, said, again])
    assert (second.output_text, second.usage.input_tokens) == (whole.output_text, whole.usage.input_tokens)
    assert second.previous_response_id == first.id
    assert second.instructions is None

    # What it was asked is in its own row: the response before it can go.
    responses.delete(first.id)
    texts = [item.content[0].text for item in responses.input_items.list(second.id, order="asc").data]
    assert texts == ["hello world", first.output_text, "go on"]
    third = responses.create(
        model="tiny", input=[again], previous_response_id=second.id, instructions="hi", background=True
    )
    assert (third.status, third.previous_response_id) == ("queued", second.id)
    assert eventually(lambda: responses.retrieve(third.id).status in ("completed", "incomplete"))
    done = responses.retrieve(third.id)
    more = [QUESTION, said, again, {"role": "assistant", "content": second.output_text}, again]
    whole = responses.create(model="tiny", input=more, instructions="hi")
    assert (done.output_text, done.previous_response_id) == (whole.output_text, second.id)
    assert len(responses.input_items.list(third.id).data) == 5

    for name, owner in ((first.id, "ann"), (second.id, "bob"), ("resp_0", "ann")):
        with pytest.raises(openai.BadRequestError) as caught:
            clients[owner].responses.create(model="tiny", input="x", previous_response_id=name)
        assert (caught.value.code, caught.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )


def test_items_come_in_pages(served, clients) -> None:
    items = [QUESTION, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "so?"}]
    kept = clients["ann"].responses.create(model="tiny", input=items, store=True)
    path = f"/v1/responses/{kept.id}/input_items"
    first = call(served, "GET", f"{path}?limit=2").json()
    assert [item["role"] for item in first["data"]] == ["user", "assistant"]
    assert first["has_more"]
    rest = call(served, "GET", f"{path}?after={first['last_id']}").json()
    assert ([item["content"][0]["text"] for item in rest["data"]], rest["has_more"]) == (
        ["hello world"],
        False,
    )
    listed = list(clients["ann"].responses.input_items.list(kept.id, limit=1, order="asc"))
    assert [item.role for item in listed] == ["user", "assistant", "user"]
    for wrong, code in (("limit=0", 400), ("limit=101", 400), ("order=up", 400), ("after=x", 404)):
        refused = call(served, "GET", f"{path}?{wrong}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (code, wrong.partition("=")[0])


def test_a_retry_with_a_known_key_is_answered_while_no_more_jobs_fit(served, clients) -> None:
    def post(key: str | None, text: str = "hello") -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"model": "tiny", "input": text, "background": True}
        return call(served, "POST", "/v1/responses", json=body, headers=headers)

    with stopped(served):
        first, second = post("k"), post(None)
        assert (first.status_code, second.status_code, post(None).status_code) == (200, 200, 429)
        again = post("k")
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        assert (post("k", "other").status_code, post("new").status_code) == (409, 429)
        # An open response can be erased, and makes room.
        assert call(served, "DELETE", f"/v1/responses/{second.json()['id']}").status_code == 200
        with pytest.raises(openai.BadRequestError, match="no answer"):
            clients["ann"].responses.create(model="tiny", input="x", previous_response_id=first.json()["id"])
        assert post("new").status_code == 200


def test_the_document_says_what_is_kept(served, chat) -> None:
    document = call(served, "GET", "/openapi.json").json()
    path = "/v1/responses/{id}"
    assert {"get", "delete"} == set(document["paths"][path])
    listed = document["paths"][f"{path}/input_items"]["get"]
    assert {each["name"]: each["in"] for each in listed["parameters"]} == {
        **{"id": "path", "limit": "query", "order": "query", "after": "query"}
    }
    plain = httpx.get(f"{chat.url}/openapi.json").json()
    assert path not in plain["paths"]
    body = {"model": "tiny", "input": "x"}
    for more in ({"store": True}, {"background": True}, {"previous_response_id": "resp_1"}):
        sent, reference = {**body, **more}, {"$ref": "#/components/schemas/ResponseRequest"}
        assert jsonschema.Draft202012Validator({**document, **reference}).is_valid(sent)
        assert not jsonschema.Draft202012Validator({**plain, **reference}).is_valid(sent)
    assert jsonschema.Draft202012Validator({**plain, **reference}).is_valid({**body, "store": False})
    job = jsonschema.Draft202012Validator({**document, "$ref": "#/components/schemas/JobRequest"})
    for sent, ok in (
        ({"url": "/v1/responses", "body": body}, True),
        ({"url": "/metrics", "body": body}, False),
        ({"url": "/v1/responses", "body": {**body, "store": True}}, False),
        ({"url": "/v1/responses", "body": body, "webhook": "https://hooks.example.com"}, False),
    ):
        assert job.is_valid(sent) == ok, sent
        assert (call(served, "POST", "/v1/jobs", json=sent).status_code == 202) == ok, sent
