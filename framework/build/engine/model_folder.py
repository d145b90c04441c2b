"""Read a model folder's JSON files: labels, end tokens, context length.

It knows the files that transformers and onnxruntime-genai write; it knows neither weights nor text.
"""

import json
from pathlib import Path
from typing import Any

from framework.core.errors import ServeError

GENAI = "genai_config.json"
ADAPTER = "adapter"
"""The folder below a model's that holds an adapter that cannot be merged into the weights."""
ADAPTER_CONFIG = "adapter_config.json"


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the folder's JSON file *name*, or ``{}`` where there is none.

    Raises:
        ServeError: the file is not a JSON object.
    """
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise ServeError(f"{folder / name}: not JSON ({error}); fetch or export the model again") from None
    if not isinstance(content, dict):
        raise ServeError(f"{folder / name}: not a JSON object; fetch or export the model again")
    return content


def end_of_sequence(folder: Path) -> frozenset[int]:
    """Return every token id that ends an answer; all engines use this rule.

    The first of generation_config.json, genai_config.json and config.json that names one decides.
    """
    genai = read_json(folder, GENAI).get("model", {})
    for source in (read_json(folder, "generation_config.json"), genai, read_json(folder, "config.json")):
        ends = source.get("eos_token_id")
        if isinstance(ends, int):
            return frozenset([ends])
        if ends:
            return frozenset(ends)
    return frozenset()


def context_length(folder: Path) -> int | None:
    """Return the model's context length, prompt and answer together; None if no file names it.

    The virtual tokens of a learned prompt, which precede every text, are subtracted.
    """
    genai = read_json(folder, GENAI).get("model", {})
    config = read_json(folder, "config.json")
    length = genai.get("context_length") or config.get("max_position_embeddings") or config.get("n_positions")
    if not length:
        return None
    if "roberta" in config.get("model_type", ""):
        length -= int(config.get("pad_token_id", 1)) + 1  # RoBERTa reserves its first positions for padding
    virtual = read_json(folder / ADAPTER, ADAPTER_CONFIG).get("num_virtual_tokens") or 0
    return int(length) - int(virtual)


def room(prompt: int, max_new_tokens: int, context: int | None) -> int:
    """Return how many tokens can follow a prompt of *prompt* tokens.

    Raises:
        ServeError: the prompt does not fit into the context.

    >>> room(250, 20, 256), room(10, 20, 256), room(10, 20, None)
    (6, 20, 20)
    """
    if context is None:
        return max_new_tokens
    if prompt > context:
        raise ServeError(f"the prompt has {prompt} tokens, but the model's context is {context}; shorten it")
    return min(max_new_tokens, context - prompt)


def label_names(folder: Path) -> list[str]:
    """Return a classifier's labels by class index, from ``id2label`` of config.json.

    Raises:
        ServeError: config.json names no labels, or skips an index.
    """
    labels = read_json(folder, "config.json").get("id2label") or {}
    if not labels or any(str(index) not in labels for index in range(len(labels))):
        raise ServeError(
            f"{folder / 'config.json'}: id2label must name every class from 0 on; export the model again"
        )
    return [str(labels[str(index)]) for index in range(len(labels))]


def pad_token(folder: Path) -> int:
    """Return the token id that fills short rows; 0 where none is named, since masks hide padding."""
    return int(read_json(folder, "config.json").get("pad_token_id") or 0)
