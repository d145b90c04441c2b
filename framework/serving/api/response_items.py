"""The items of a kept response: what it was asked, and with its answer the conversation that it ends."""

from collections.abc import Mapping
from typing import Any

from framework.serving.api_error import ApiError
from framework.serving.jobs.job import Job

Item = dict[str, Any]
MOST = 100
"""Most items of one page."""
QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
}
"""The parameters of a page."""


def asked(job: Job) -> list[Item]:
    """Return what a response was asked, the earlier turns of its conversation too, as OpenAI lists items.

    An item that the client gave no id has one that follows from the response's and its place.
    """
    sent = job.body["input"]
    items = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
    number = job.id.partition("_")[2]
    return [_complete(item, f"{number}{place:04}") for place, item in enumerate(items)]


def conversation(job: Job) -> list[Item]:
    """Return what a response was asked, and what it answered, as the input of another one.

    Raises:
        ApiError: 400, it has no answer.
    """
    if job.result is None:
        raise ApiError(
            400,
            f"previous_response_id: '{job.id}' is {job.status}, so it has no answer to continue",
            param="previous_response_id",
        )
    return [*asked(job), *(_complete(item, "") for item in job.result["output"])]


def page(items: list[Item], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of *items* that a client's *query* asks for, as OpenAI's list: the newest first.

    Raises:
        ApiError: 400, a parameter is wrong; 404, there is no item with the id ``after``.
    """
    limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MOST):
        raise ApiError(400, f"limit: use 1 to {MOST}", param="limit")
    if order not in ("asc", "desc"):
        raise ApiError(400, "order: use asc or desc", param="order")
    ordered = items if order == "asc" else items[::-1]
    if after is not None:
        names = [item["id"] for item in ordered]
        if after not in names:
            raise ApiError(404, f"after: the response has no item '{after}'", param="after")
        ordered = ordered[names.index(after) + 1 :]
    shown = ordered[: int(limit)]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > len(shown),
    }


def _complete(item: Item, number: str) -> Item:
    """Return an item with all its fields; *number* makes its id if it has none."""
    kind = item.get("type") or "message"
    prefix = {"message": "msg", "function_call": "fc"}.get(kind, "fco")
    head = {"type": kind, "id": item.get("id") or f"{prefix}_{number}", "status": "completed"}
    if kind == "function_call":
        return {**head, **{key: item[key] for key in ("call_id", "name", "arguments")}}
    if kind == "function_call_output":
        return {**head, "call_id": item["call_id"], "output": item["output"]}
    content, role = item["content"], item["role"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    form = {"type": "output_text", "annotations": []} if role == "assistant" else {"type": "input_text"}
    return {**head, "role": role, "content": [{**form, "text": text} for text in texts]}
