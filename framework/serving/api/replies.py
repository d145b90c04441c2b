"""The JSON of every answer, as models for the OpenAPI document.

Routes write dictionaries. Tests compare what a real server answers with these models. Answers can get more
fields, so unknown ones are allowed.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorFields(BaseModel):
    """What went wrong."""

    message: str = Field(description="where, what, and how to fix it")
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="the field of the request that is wrong")
    code: str | None = Field(description="a name that programs can compare")


class Error(BaseModel):
    """Every error, in OpenAI's form."""

    error: ErrorFields


class ChatUsage(BaseModel):
    """Tokens of a request and its answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CalledFunction(BaseModel):
    """What is called."""

    name: str
    arguments: str = Field(description="JSON of an object")


class ToolCall(BaseModel):
    """A call that the client is asked to make."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatAnswer(BaseModel):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatAnswer
    logprobs: dict[str, Any] | None
    finish_reason: str


class TokenList(BaseModel):
    """The tokens of a text."""

    count: int
    max_model_len: int | None = Field(description="tokens of a prompt and its answer")
    tokens: list[int]
    token_strs: list[str] | None = None


class TokenText(BaseModel):
    """The text of tokens."""

    prompt: str


class Completion(BaseModel):
    """The continuations of prompts; of a stream, a piece of one."""

    id: str
    object: Literal["text_completion"]
    created: int = Field(description="Unix seconds")
    model: str
    system_fingerprint: str
    choices: list[dict[str, Any]]
    usage: ChatUsage | None = None


class ResponseObject(BaseModel):
    """An answer in the form of OpenAI's responses."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "in_progress", "failed", "queued", "cancelled"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class DeletedResponse(BaseModel):
    """That a kept response was erased."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(BaseModel):
    """A page of what a kept response was asked."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class _ChatHead(BaseModel):
    id: str
    created: int = Field(description="Unix seconds")
    model: str
    system_fingerprint: str = Field(description="the model's version; feedback repeats it")


class ChatCompletion(_ChatHead):
    """A complete answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: ChatUsage


class ChatDelta(BaseModel):
    """What is new in an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatChunkChoice(BaseModel):
    """A piece of one answer."""

    index: int
    delta: ChatDelta
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class ChatCompletionChunk(_ChatHead):
    """The JSON of one server-sent event. The last event is the text ``[DONE]``."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = None


class Entity(BaseModel):
    """One entity of a text."""

    label: str
    text: str
    start: int = Field(description="first character, counted from 0")
    end: int = Field(description="the character after the last")
    score: float


class ClassifiedText(BaseModel):
    """The answer to one text: a label, every label that applies, or entities."""

    index: int
    label: str | None = None
    score: float | None = None
    labels: list[str] | None = None
    scores: dict[str, float] | None = None
    entities: list[Entity] | None = None


class TextUsage(BaseModel):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class Classified(BaseModel):
    """The answers to all texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[ClassifiedText]
    usage: TextUsage


class EmbeddedText(BaseModel):
    """The vector of one text, of length 1."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="numbers, or base64 of little-endian float32 numbers")


class Embedded(BaseModel):
    """The vectors of all texts, in their order."""

    id: str = Field(description="feedback can name it")
    object: Literal["list"]
    model: str
    data: list[EmbeddedText]
    usage: TextUsage


class DocumentText(BaseModel):
    """A document."""

    text: str


class RankedDocument(BaseModel):
    """How similar a document is to the query."""

    index: int = Field(description="the document's place in the request, from 0")
    relevance_score: float = Field(description="the cosine of both vectors, from -1 to 1")
    document: DocumentText | None = None


class Reranked(BaseModel):
    """The documents, the most similar one first."""

    id: str = Field(description="feedback can name it")
    model: str
    results: list[RankedDocument]
    usage: TextUsage


class ModelCard(BaseModel):
    """The served model."""

    id: str
    object: Literal["model"]
    created: int = Field(description="Unix seconds")
    owned_by: str


class ModelList(BaseModel):
    """The one served model."""

    object: Literal["list"]
    data: list[ModelCard]


class ServedRelease(BaseModel):
    """The release that is served, and what was measured before it was published."""

    name: str
    digest: str
    system_fingerprint: str
    engine: str
    task: str
    answers: Literal["chat", "labels", "entities", "vectors"] = Field(description="what the model returns")
    base_model: str
    base_model_license: str
    recipe: str
    commit: str | None
    metrics: dict[str, float]
    gates: dict[str, str] = Field(description="the bound of every passed gate, by metric")
    context: int | None = Field(description="tokens of a prompt and its answer")
    dimensions: int | None = Field(description="numbers of a vector, if the model returns vectors")
    max_new_tokens: int
