"""Attach an adapter that cannot be merged into the weights to an open model.

A folder with such an adapter is the base model's folder with ``adapter/`` below it. This module knows
PEFT's two files and our bottleneck's; it does not know what trained them.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import ADAPTER_CONFIG, read_json
from framework.core.error_text import first_line
from framework.core.errors import ServeError

WEIGHTS = "adapter_model.safetensors"
BOTTLENECK = "BOTTLENECK"
"""``peft_type`` of our own adapter; peft has none of this kind."""


@contextlib.contextmanager
def without_known_warnings() -> Iterator[None]:
    """Silence warnings that peft, and bitsandbytes where it is installed, raise about their own code."""
    # On import it advises faster kernels for 4-bit inference on CPUs.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # peft 0.21 uses a name that transformers 6 will drop.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # AdaLoRA's rank pattern has its own names; the check is meant for LoRA.
        warnings.filterwarnings("ignore", message="The following rank_pattern keys did not match")
        # Tied layers are refused by ``framework.build.tuning.targets``.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings=True")
        yield


def attach(model: Any, folder: Path) -> Any:
    """Return *model* with the adapter in *folder*, in evaluation mode.

    Raises:
        ServeError: the adapter does not match the model.
    """
    body = read_json(folder, ADAPTER_CONFIG)
    try:
        adapted = (
            _bottleneck(model, folder, body) if body.get("peft_type") == BOTTLENECK else _peft(model, folder)
        )
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ServeError(f"{folder}: the adapter does not match its model: {first_line(error)}") from error
    return adapted.eval()


def _peft(model: Any, folder: Path) -> Any:
    with without_known_warnings():
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(model, str(folder))
    if virtual_tokens(adapted):
        number_positions(adapted)
    return adapted


def _bottleneck(model: Any, folder: Path, body: dict[str, Any]) -> Any:
    from safetensors.torch import load_file

    from framework.build.engine.bottleneck import insert, load

    insert(model, body["target_modules"], body["width"], body["activation"])
    if unmatched := load(model, load_file(folder / WEIGHTS)):
        raise ValueError(f"{unmatched[0]} is not in the model, or has another shape there")
    return model


def virtual_tokens(model: Any) -> int:
    """Return how many positions of the context a learned prompt takes; 0 without one."""
    config = getattr(model, "active_peft_config", None)
    return int(config.num_virtual_tokens) if config is not None and config.is_prompt_learning else 0


def following(model: Any) -> Any:
    """Return the model for later steps of a sequence: the base model, if a learned prompt came first."""
    return model.get_base_model() if virtual_tokens(model) else model


def number_positions(adapted: Any) -> None:
    """Make a language model with a learned prompt skip padding when it numbers positions.

    peft puts the prompt before the padding and drops any positions it is passed. Positions counted from
    the mask keep the prompt as close to the text in a padded batch as in a single row.
    """
    from peft import PeftModelForCausalLM

    if (
        not isinstance(adapted, PeftModelForCausalLM)
        or adapted.active_peft_config.peft_type == "PREFIX_TUNING"
    ):
        return

    def drop(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {name: value for name, value in kwargs.items() if name != "position_ids"}

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kwargs.get("attention_mask")
        if mask is None or kwargs.get("inputs_embeds") is None:
            return args, kwargs
        return args, {**kwargs, "position_ids": (mask.long().cumsum(1) - 1).clamp(min=0)}

    adapted.register_forward_pre_hook(drop, with_kwargs=True)
    adapted.get_base_model().register_forward_pre_hook(count, with_kwargs=True)
