"""Loaded by schemathesis, in an environment of its own: how to make texts of the document's own formats."""

import json

import schemathesis
from hypothesis import strategies

_text = strategies.text(strategies.characters(codec="utf-8"), max_size=8)
_value = strategies.none() | strategies.booleans() | strategies.integers() | _text


@schemathesis.hook
def map_body(context, body):
    """Continue no response: no schema knows which ones a server keeps."""
    if isinstance(body, dict):
        body.pop("previous_response_id", None)
    return body


schemathesis.openapi.format("json-object", strategies.dictionaries(_text, _value, max_size=3).map(json.dumps))
