"""PyTorch, the reference runtime: open a Hugging Face folder in evaluation mode.

It computes in float32, except where a compression stored fewer bits. An adapter in the folder
``adapter/`` below it is attached. It does not know where the folder came from.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.build.engine import AdaptedBatches, Engine
from framework.build.engine.attached_adapter import attach
from framework.build.engine.dequantize import is_quantized, open_quantized
from framework.build.engine.model_folder import ADAPTER, read_json
from framework.build.engine.torch_models import (
    TorchClassifier,
    TorchDecoder,
    TorchEmbedder,
    TorchEncoderDecoder,
    TorchImageClassifier,
    TorchModel,
    TorchTokenClassifier,
)
from framework.core.error_text import first_line
from framework.core.errors import ServeError

_KINDS: dict[str, tuple[str, type[TorchModel]]] = {
    "ForCausalLM": ("AutoModelForCausalLM", TorchDecoder),
    "LMHeadModel": ("AutoModelForCausalLM", TorchDecoder),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", TorchClassifier),
    "ForTokenClassification": ("AutoModelForTokenClassification", TorchTokenClassifier),
    "ForConditionalGeneration": ("AutoModelForSeq2SeqLM", TorchEncoderDecoder),
    "ViltForQuestionAnswering": ("AutoModelForVisualQuestionAnswering", TorchImageClassifier),
    "Model": ("AutoModel", TorchEmbedder),  # after LMHeadModel
}
"""The suffix of an architecture's name: the class of transformers that opens it, and ours."""
_HALVES = ("float16", "bfloat16")


def open_folder(folder: Path, threads: int = 0) -> Engine:
    """Open a folder that ``save_pretrained`` wrote.

    Args:
        folder: config.json and safetensors of a language model, a classifier or an embedding model.
        threads: CPU threads for the whole process; 0 leaves the choice to torch.

    Raises:
        ServeError: the folder cannot be opened, or its architecture is not supported.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    _, kind = _kind(folder)
    return kind(open_model(folder), folder)


def open_adapted(folder: Path, threads: int, adapters: Mapping[str, Path], width: int = 1) -> AdaptedBatches:
    """Open a language model with several adapters, none of which is merged.

    Args:
        folder: as for ``open_folder``.
        threads: CPU threads for the whole process; 0 leaves the choice to torch.
        adapters: the folder of each.
        width: most requests at once; torch answers one after another, whatever it is.

    Raises:
        ServeError: the folder or an adapter cannot be opened, or the folder is no language model.
    """
    from framework.build.engine.named_adapters import AdaptedOneByOne, attach_all

    if (folder / ADAPTER).is_dir() or is_quantized(folder):
        raise ServeError(f"{folder}: adapters need a float model without an adapter of its own")
    engine = open_folder(folder, threads)
    if not isinstance(engine, TorchDecoder):
        raise ServeError(f"{folder}: adapters need a language model")
    engine.model, names = attach_all(engine.model, adapters)
    return AdaptedOneByOne(engine, names)


def open_model(folder: Path) -> Any:
    """Return the folder's model with its adapter, if it has one, in evaluation mode.

    It computes in float32, or in 16 bits where config.json gives the weights that type.

    Raises:
        ServeError: the folder cannot be opened, or its architecture is not supported.
    """
    import torch
    import transformers

    auto_class, _ = _kind(folder)
    if is_quantized(folder):
        return open_quantized(folder)
    try:
        model = getattr(transformers, auto_class).from_pretrained(
            folder, dtype=getattr(torch, _dtype(folder)), local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ServeError(f"{folder}: transformers cannot open it: {first_line(error)}") from error
    return attach(model, folder / ADAPTER) if (folder / ADAPTER).is_dir() else model.eval()


def _kind(folder: Path) -> tuple[str, type[TorchModel]]:
    architecture = (read_json(folder, "config.json").get("architectures") or ["nothing"])[0]
    for suffix, kind in _KINDS.items():
        if architecture.endswith(suffix):
            return kind
    raise ServeError(
        f"{folder / 'config.json'}: names the architecture {architecture}; use one whose name ends in "
        f"{', '.join(_KINDS)}"
    )


def _dtype(folder: Path) -> str:
    """Return torch's name of the type to compute in."""
    name = str(read_json(folder, "config.json").get("dtype"))
    return name if name in _HALVES else "float32"
