"""What a model folder says about itself in JSON.

Knows the files that transformers and onnxruntime-genai write; knows nothing of weights or text.
"""

import json
from pathlib import Path
from typing import Any

from framework.core.errors import ServeError

GENAI = "genai_config.json"
ADAPTER = "adapter"
"""The folder below a model's that holds what was trained and could not become part of its weights."""
ADAPTER_CONFIG = "adapter_config.json"


def label_names(folder: Path) -> list[str]:
    """Return the names of a classifier's labels, in the order of their numbers."""
    named: dict[str, str] = read_json(folder, "config.json").get("id2label", {})
    return [name for _, name in sorted((int(number), name) for number, name in named.items())]


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the folder's JSON file *name*, or ``{}`` where there is none.

    Raises:
        ServeError: the file is not a JSON object.
    """
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ServeError(f"{folder / name}: not JSON ({error}); fetch or export the model again") from None
    if not isinstance(found, dict):
        raise ServeError(f"{folder / name}: not a JSON object; fetch or export the model again")
    return found


def end_of_sequence(folder: Path) -> frozenset[int]:
    """Return every token id that ends an answer; one rule, so that all engines stop alike.

    The first of generation_config.json, genai_config.json and config.json that names one decides.
    """
    genai = read_json(folder, GENAI).get("model", {})
    for source in (read_json(folder, "generation_config.json"), genai, read_json(folder, "config.json")):
        found = source.get("eos_token_id")
        if isinstance(found, int):
            return frozenset([found])
        if found:
            return frozenset(found)
    return frozenset()


def context_length(folder: Path) -> int | None:
    """Return how many tokens the model can see, prompt and answer together; None if it does not say.

    Those of a learnt prompt, which stands before every text, are taken off.
    """
    genai = read_json(folder, GENAI).get("model", {})
    config = read_json(folder, "config.json")
    found = genai.get("context_length") or config.get("max_position_embeddings") or config.get("n_positions")
    if not found:
        return None
    if "roberta" in config.get("model_type", ""):
        found -= int(config.get("pad_token_id", 1)) + 1  # its first positions are padding's
    learnt = read_json(folder / ADAPTER, ADAPTER_CONFIG).get("num_virtual_tokens") or 0
    return int(found) - int(learnt)


def room(prompt: int, max_new_tokens: int, context: int | None) -> int:
    """Return how many tokens may follow a prompt of *prompt* tokens.

    Raises:
        ServeError: the prompt alone does not fit into the context.

    >>> room(250, 20, 256), room(10, 20, 256), room(10, 20, None)
    (6, 20, 20)
    """
    if context is None:
        return max_new_tokens
    if prompt > context:
        raise ServeError(f"the prompt has {prompt} tokens, but the model sees {context}; shorten it")
    return min(max_new_tokens, context - prompt)


def class_names(folder: Path) -> list[str]:
    """Return a classifier's labels by class index, from ``id2label`` of config.json.

    Raises:
        ServeError: the folder names no labels, or skips an index.
    """
    named = read_json(folder, "config.json").get("id2label") or {}
    try:
        return [str(named[str(index)]) for index in range(len(named))] or _no_labels(folder)
    except KeyError:
        return _no_labels(folder)


def _no_labels(folder: Path) -> list[str]:
    raise ServeError(f"{folder / 'config.json'}: 'id2label' must name every class from 0 on; export again")


def pad_token(folder: Path) -> int:
    """Return the token id that fills short rows; 0 where none is named, since masks hide it."""
    return int(read_json(folder, "config.json").get("pad_token_id") or 0)
