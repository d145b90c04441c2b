import json
import time

from framework.serving.api.body import read_request
from framework.serving.api.response_items import asked, conversation
from framework.serving.api.response_request import ResponseRequest
from framework.serving.jobs.job import Job

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}


def job(sent, output):
    now = time.time()
    result = {"output": output}
    body = {"model": "tiny", "input": sent}
    return Job("resp_1", "a", "/v1/responses", body, {}, "completed", now, now, now, 0, result, None, None, 0)


def test_calls_and_their_outputs_are_continued():
    said = {"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": [{"token": "Let"}]}
    message = {
        "type": "message",
        "id": "msg_a",
        "role": "assistant",
        "status": "completed",
        "content": [said],
    }
    first = job("Add.", [message, {**CALL, "id": "fc_a"}])
    output = {"type": "function_call_output", "call_id": "c", "output": "4"}
    sent = {"model": "tiny", "input": [*conversation(first), output]}
    messages = read_request(ResponseRequest, json.dumps(sent).encode()).chat().messages
    assert [(each["role"], each.get("content")) for each in messages] == [
        *[("user", "Add."), ("assistant", "Let me see."), ("tool", "4")]
    ]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert "logprobs" not in json.dumps(sent)

    listed = asked(job(sent["input"], []))
    assert [item["type"] for item in listed] == [
        *["message", "message", "function_call", "function_call_output"]
    ]
    assert [item["id"] for item in listed[:3]] == ["msg_10000", "msg_a", "fc_a"]
    assert asked(job(listed, [])) == listed
