"""``POST /tokenize`` and ``POST /detokenize``, in vLLM's form."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import StrictBody, count_characters, read_request
from framework.serving.api.chat_request import read_messages
from framework.serving.api.operation import ASKS_MODEL, JSON, Operation
from framework.serving.api.replies import TokenList, TokenText
from framework.serving.api.service import Service
from framework.serving.api.tool_request import read_choice
from framework.serving.api.turn_schema import TOOLS, TURNS
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.middleware.disconnect import unless_disconnected

TOKENIZE, DETOKENIZE = "/tokenize", "/detokenize"


def _only(field: str, other: str) -> JsonDict:
    given: JsonDict = {field: {"not": {"type": "null"}}, other: {"type": "null"}}
    return {"required": [field], "properties": given}


class TokenizeRequest(StrictBody):
    """A text, or a conversation."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [_only("prompt", "messages"), _only("messages", "prompt")]}
    )

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1), TURNS] | None = None
    tools: Annotated[list[dict[str, Any]], TOOLS] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None

    def payload(self) -> dict[str, Any]:
        """Return what the engine's process reads.

        Raises:
            ApiError: 400, it is neither a text nor a conversation.
        """
        if (self.prompt is None) == (self.messages is None):
            raise ApiError(400, "Send either prompt or messages", param="prompt")
        tools, _ = read_choice(self.tools, None, True)
        asked: dict[str, Any] = {"names": bool(self.return_token_strs)}
        if self.messages is None:
            return {
                "tokenize": {**asked, "text": self.prompt, "special": self.add_special_tokens is not False}
            }
        messages = read_messages(self.messages, "messages")
        answer = self.add_generation_prompt is not False
        return {"tokenize": {**asked, "messages": messages, "tools": tools, "answer": answer}}


class DetokenizeRequest(StrictBody):
    """Token ids."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0)]]


class Tokens:
    """Converts between text and token ids; the engine's process has the tokenizer."""

    operations = (
        Operation(
            "POST",
            TOKENIZE,
            "Turn a text into tokens",
            TokenizeRequest,
            replies={JSON: TokenList},
            errors=ASKS_MODEL,
            example={"prompt": "Hello"},
        ),
        Operation(
            "POST",
            DETOKENIZE,
            "Turn tokens into a text",
            DetokenizeRequest,
            replies={JSON: TokenText},
            errors=ASKS_MODEL,
            example={"tokens": [5]},
        ),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [
            Route(TOKENIZE, self.tokenize, methods=["POST"]),
            Route(DETOKENIZE, self.detokenize, methods=["POST"]),
        ]

    async def tokenize(self, request: Request) -> Response:
        """Return the tokens of a text or of a conversation."""
        body = read_request(TokenizeRequest, await request.body())
        self._service.check_length(count_characters([body.prompt, body.messages, body.tools]), "prompt")
        told = await self._told(request, body.model, body.payload())
        names = {"token_strs": told["names"]} if body.return_token_strs else {}
        ids = told["ids"]
        return JSONResponse(
            {"count": len(ids), "max_model_len": self._service.context, "tokens": ids, **names}
        )

    async def detokenize(self, request: Request) -> Response:
        """Return the text of tokens."""
        body = read_request(DetokenizeRequest, await request.body())
        self._service.check_length(len(body.tokens), "tokens")
        told = await self._told(request, body.model, {"detokenize": body.tokens})
        return JSONResponse({"prompt": told["whole"]})

    async def _told(self, request: Request, model: str | None, payload: dict[str, Any]) -> dict[str, Any]:
        if model is not None:
            self._service.check_model(model)
        return await unless_disconnected(request, self._service.tell(payload, caller_of(request)))
