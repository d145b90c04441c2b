import json

from framework.serving.api.chat_reply import Reply


def test_each_event_is_one_line_of_json() -> None:
    reply = Reply.new("m", 1, "sha256:" + "ab" * 32)
    text = reply.chunk(0, {"content": "line\nbreak ü"})
    assert text.startswith("data: {")
    assert text.endswith("}\n\n")
    assert text.count("\n") == 2
    assert json.loads(text[6:])["choices"][0]["delta"]["content"] == "line\nbreak ü"
    assert json.loads(text[6:])["system_fingerprint"] == "fp_abababababab"
