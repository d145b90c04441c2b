"""A response of ``/v1/responses`` that grows with the events of its answer, and the events of its stream."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from framework.serving.answers import Event


class ResponseReply:
    """One response; each change returns the events that tell it to a stream."""

    def __init__(self, name: str, model: str, shown: dict[str, Any], prompt_tokens: int) -> None:
        """Begin a response.

        Args:
            name: its id.
            model: the model's name.
            shown: the request's fields that it repeats.
            prompt_tokens: tokens of the prompt.
        """
        self._shown, self._prompt = {"model": model, **shown}, prompt_tokens
        self._id, self._created = name, int(time.time())
        self._completed = self._created
        self._status, self._completion = "in_progress", 0
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        """The message that text is added to."""
        self._sequence = 0

    def body(self) -> dict[str, Any]:
        """Return the response as it is now."""
        ended = self._status in ("completed", "incomplete")
        total = self._prompt + self._completion
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": self._completed if self._status == "completed" else None,
            "status": self._status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if self._status == "incomplete" else None,
            "output": self._output,
            "truncation": "disabled",
            "usage": {
                "input_tokens": self._prompt,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self._completion,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": total,
            }
            if ended
            else None,
            **self._shown,
        }

    def begin(self) -> Iterator[str]:
        """Yield the first events."""
        yield self._event("response.created", response=self.body())
        yield self._event("response.in_progress", response=self.body())

    def add(self, event: Event) -> Iterator[str]:
        """Take an event of the answer."""
        if "finish_reason" in event:
            yield from self._end(event)
            return
        if event["text"] or event.get("logprobs"):
            yield from self._add_text(event["text"], event.get("logprobs", []))
        for call in event.get("calls", ()):
            yield from self._close()
            yield from self._add_call(call)

    def failed(self, error: dict[str, Any]) -> str:
        """Return the event of an answer that failed; *error* has OpenAI's fields."""
        fields = {key: error.get(key) for key in ("code", "message", "param")}
        return self._event("error", **fields)

    def _add_text(self, text: str, logprobs: list[dict[str, Any]]) -> Iterator[str]:
        if self._open is None:
            yield from self._open_message()
        assert self._open is not None
        part = self._open["content"][0]
        part["text"] += text
        part["logprobs"] = [*part["logprobs"], *logprobs]
        yield self._in_part("response.output_text.delta", delta=text, logprobs=logprobs)

    def _open_message(self) -> Iterator[str]:
        item = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "role": "assistant"}
        self._open = {**item, "status": "in_progress", "content": []}
        self._output.append(self._open)
        yield self._in_output("response.output_item.added", item=self._open)
        part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._open["content"] = [part]
        yield self._in_part("response.content_part.added", part=part)

    def _close(self, status: str = "completed") -> Iterator[str]:
        """End the open message, if there is one."""
        if self._open is None:
            return
        part = self._open["content"][0]
        self._open["status"] = status
        yield self._in_part("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._in_part("response.content_part.done", part=part)
        yield self._in_output("response.output_item.done", item=self._open)
        self._open = None

    def _add_call(self, call: dict[str, Any]) -> Iterator[str]:
        number = uuid.uuid4().hex
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number[:24]}"}
        begun = {**item, "name": call["name"], "arguments": "", "status": "in_progress"}
        self._output.append(begun)
        yield self._in_output("response.output_item.added", item=begun)
        ended = {**begun, "arguments": call["arguments"], "status": "completed"}
        self._output[-1] = ended
        at = {"item_id": item["id"], "output_index": len(self._output) - 1}
        kind = "response.function_call_arguments"
        yield self._event(f"{kind}.delta", **at, delta=call["arguments"])
        yield self._event(f"{kind}.done", **at, name=call["name"], arguments=call["arguments"])
        yield self._in_output("response.output_item.done", item=ended)

    def _end(self, event: Event) -> Iterator[str]:
        status = "incomplete" if event["finish_reason"] == "length" else "completed"
        if not self._output:  # an empty answer is a message, too
            yield from self._open_message()
        yield from self._close(status)
        self._completion, self._status = event["completion_tokens"], status
        self._completed = int(time.time())
        self._prompt = event.get("prompt_tokens", self._prompt)
        yield self._event(f"response.{status}", response=self.body())

    def _in_output(self, kind: str, **fields: Any) -> str:
        return self._event(kind, output_index=len(self._output) - 1, **fields)

    def _in_part(self, kind: str, **fields: Any) -> str:
        assert self._open is not None
        return self._in_output(kind, item_id=self._open["id"], content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> str:
        """Return one server-sent event; the next one has the next number."""
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return f"event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"
