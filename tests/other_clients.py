"""Ask a server, whose URL is the argument, through litellm and langchain; print the answers as JSON.

A second argument names texts, comma-separated, which the server embeds; without it, it is a language model's.

The packages' own versions and dependencies are in an environment of their own: see test_other_clients.
"""

import json
import sys
from typing import Literal

import litellm
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict

HELLO = {"role": "user", "content": "hello world"}


class Find(BaseModel):
    """Find something."""

    model_config = ConfigDict(extra="forbid")
    n: Literal[1, 2]


def through_litellm(url: str) -> dict[str, object]:
    server = {"api_base": url, "api_key": "x"}
    chat = {**server, "model": "openai/tiny", "messages": [HELLO]}
    function = {"name": "find", "description": "Find.", "parameters": Find.model_json_schema()}
    tools = [{"type": "function", "function": function}]
    called = (
        litellm.completion(**chat, tools=tools, tool_choice="required", max_tokens=150).choices[0].message
    )
    chunks = litellm.completion(**chat, max_tokens=8, stream=True)
    text = litellm.text_completion(
        **server, model="text-completion-openai/tiny", prompt="hello world", max_tokens=8
    )
    return {
        "chat": litellm.completion(**chat, max_tokens=8).choices[0].message.content,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "arguments": json.loads(called.tool_calls[0].function.arguments),
        "text": text.choices[0].text,
    }


def through_langchain(url: str) -> dict[str, object]:
    def model(**fields: object) -> ChatOpenAI:
        return ChatOpenAI(model="tiny", base_url=url, api_key="x", max_retries=0, **fields)

    short, structured = model(max_tokens=8), model(max_tokens=150).with_structured_output
    return {
        "chat": short.invoke("hello world").content,
        "stream": "".join(chunk.content for chunk in short.stream("hello world")),
        "schema": structured(Find, method="json_schema").invoke("hello").n,
        "call": structured(Find, method="function_calling").invoke("hello").n,
        "response": model(max_tokens=8, use_responses_api=True).invoke("hello world").text,
    }


def vectors_through_litellm(url: str, texts: list[str]) -> dict[str, object]:
    embedded = litellm.embedding(model="openai/tiny", input=texts, api_base=url, api_key="x")
    ranked = litellm.rerank(model="hosted_vllm/tiny", query=texts[0], documents=texts, api_base=url, top_n=2)
    return {
        "vectors": [each["embedding"] for each in embedded.data],
        "ranked": [[each["index"], each["relevance_score"]] for each in ranked.results],
    }


def vectors_through_langchain(url: str, texts: list[str]) -> dict[str, object]:
    embeddings = OpenAIEmbeddings(
        model="tiny", base_url=url, api_key="x", check_embedding_ctx_length=False, max_retries=0
    )
    return {"vectors": embeddings.embed_documents(texts), "query": embeddings.embed_query(texts[0])}


def answers(url: str, texts: str = "") -> dict[str, object]:
    if not texts:
        return {"litellm": through_litellm(url), "langchain": through_langchain(url)}
    listed = texts.split(",")
    return {
        "litellm": vectors_through_litellm(url, listed),
        "langchain": vectors_through_langchain(url, listed),
    }


if __name__ == "__main__":
    print(json.dumps(answers(*sys.argv[1:])))
