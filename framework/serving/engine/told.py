"""What the engine's process tells without its model: the tokens of a text, and the text of tokens."""

from dataclasses import dataclass
from typing import Any

from framework.build.model.conversation import render
from framework.core.errors import DataError
from framework.serving.api_error import ApiError


@dataclass(frozen=True)
class Told:
    """An answer that needs no step of the model."""

    event: dict[str, Any]


def tell(tokenizer: Any, payload: dict[str, Any]) -> Told:
    """Answer a payload with ``tokenize`` or ``detokenize``.

    Raises:
        ApiError: there is no such token, or the chat template rejects the conversation.
    """
    if "detokenize" in payload:
        ids = payload["detokenize"]
        check_ids(tokenizer, ids, "tokens")
        return Told({"whole": str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))})
    asked = payload["tokenize"]
    if "text" in asked:
        ids = tokenizer(asked["text"], add_special_tokens=asked["special"])["input_ids"]
    else:
        try:
            ids = render(tokenizer, asked["messages"], asked["tools"] or None, prompt=asked["answer"])
        except DataError as error:
            raise ApiError(400, str(error), param="messages") from None
    names = tokenizer.convert_ids_to_tokens(list(ids)) if asked["names"] else None
    return Told({"ids": list(ids), "names": names})


def check_ids(tokenizer: Any, ids: list[int], param: str) -> None:
    """Refuse ids that are not the tokenizer's.

    Raises:
        ApiError: 400.
    """
    size = len(tokenizer)
    unknown = next((token for token in ids if not 0 <= token < size), None)
    if unknown is not None:
        raise ApiError(400, f"{param}: {unknown} is no token; they are 0 to {size - 1}", param=param)
