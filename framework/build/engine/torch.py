"""PyTorch: a Hugging Face folder in evaluation mode, float32 but where it was made smaller: the reference.

It knows token ids and tensors; neither text nor where the folder came from. An adapter in the folder
``adapter/`` below it is attached.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.engine import GREEDY, Sampling
from framework.build.engine.attached_adapter import attach, following
from framework.build.engine.decoding import Step, decode, decode_together
from framework.build.engine.dequantize import is_quantised, open_quantised
from framework.build.engine.model_folder import (
    ADAPTER,
    context_length,
    end_of_sequence,
    pad_token,
    read_json,
    room,
)
from framework.build.engine.padded_batches import batches, padded
from framework.core.error_text import first_line
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np
    import torch

_KINDS = {
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "ViltForQuestionAnswering": "AutoModelForVisualQuestionAnswering",
}
"""What opens a model, by how the name of its class ends."""
_HALVES = ("float16", "bfloat16")


def open_folder(folder: Path, threads: int = 0) -> "TorchEngine":
    """Open a folder that ``save_pretrained`` wrote.

    Args:
        folder: config.json and safetensors of a language model or a classifier.
        threads: CPU threads for the whole process; 0 leaves torch's own choice.

    Raises:
        ServeError: the folder cannot be opened, or its architecture is of another kind.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    return TorchEngine(open_model(folder), folder)


def open_model(folder: Path) -> Any:
    """Return the folder's model with its adapter, if it has one, in evaluation mode.

    It computes in float32, or in 16 bits where config.json says that its weights are of them.

    Raises:
        ServeError: the folder cannot be opened, or its architecture is of another kind.
    """
    import torch
    import transformers

    named = (read_json(folder, "config.json").get("architectures") or ["nothing"])[0]
    kind = next((auto_class for ending, auto_class in _KINDS.items() if named.endswith(ending)), None)
    if kind is None:
        raise ServeError(
            f"{folder}: config.json names {named}, but a class that ends in {', '.join(_KINDS)} is needed"
        )
    if is_quantised(folder):
        return open_quantised(folder)
    try:
        model = getattr(transformers, kind).from_pretrained(
            folder, dtype=getattr(torch, _dtype(folder)), local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ServeError(f"{folder}: transformers cannot open it: {first_line(error)}") from error
    return attach(model, folder / ADAPTER) if (folder / ADAPTER).is_dir() else model.eval()


def _dtype(folder: Path) -> str:
    """Return torch's name of the type to compute in."""
    named = str(read_json(folder, "config.json").get("dtype"))
    return named if named in _HALVES else "float32"


class TorchEngine:
    """An open model."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = model
        self.ends = end_of_sequence(folder)
        self.pad = pad_token(folder)
        self.context = context_length(folder)

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary), or (T, tags)."""
        found: dict[int, np.ndarray] = {}
        for indices in batches(rows):
            scores = self._forward([rows[index] for index in indices]).numpy()
            longest = max(len(rows[index]) for index in indices)
            for position, index in enumerate(indices):
                # A learnt prompt has logits too, before those of the row.
                found[index] = scores[position, -longest:][: len(rows[index])].copy()
        return [found[index] for index in range(len(rows))]

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Return, for each answer of A token ids to its row, float32 logits of shape (A, vocabulary)."""
        import torch

        found = []
        for row, answer in zip(rows, answers, strict=True):
            start = self.model.config.decoder_start_token_id
            fed = {
                "input_ids": torch.tensor([row]),
                "decoder_input_ids": torch.tensor([[start, *answer[:-1]]]),
            }
            with torch.inference_mode():
                found.append(self.model(**fed).logits[0].float().numpy())
        return found

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*, with a key-value cache, one forward a token.

        Ends before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context.
        """
        limit = room(len(prompt), max_new_tokens, self.context)
        step, first = self._begin([prompt])
        if self.model.config.is_encoder_decoder:
            limit = room(1, max_new_tokens, self.context)
        yield from decode(step, first[0], limit, self.ends, sampling)

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of each of the equally long *prompts*, greedily and past any end."""
        step, first = self._begin(prompts)
        yield from decode_together(step, first, new_tokens)

    def _begin(self, prompts: Sequence[Sequence[int]]) -> tuple[Step, Sequence[Sequence[int]]]:
        """Return what goes on from *prompts* with a key-value cache, and what it is given first."""
        import torch

        name, first, read, cache, model = "input_ids", prompts, {}, None, self.model
        if model.config.is_encoder_decoder:
            with torch.inference_mode():
                read = {"encoder_outputs": model.get_encoder()(input_ids=torch.tensor(prompts))}
            name, first = "decoder_input_ids", [[model.config.decoder_start_token_id]] * len(prompts)

        def step(fed: "np.ndarray") -> "np.ndarray":
            nonlocal cache, model
            # Entered anew for each step: held open over a yield, it would leak into the caller.
            with torch.inference_mode():
                given = {name: torch.from_numpy(fed)}
                out = model(**given, **read, past_key_values=cache, use_cache=True)
            cache, model = out.past_key_values, following(self.model)
            scores: np.ndarray = out.logits[:, -1].float().numpy()
            return scores

        return step, first

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes) for a sequence classifier."""
        import numpy as np

        scores = np.zeros((len(rows), self.model.config.num_labels), np.float32)
        for indices in batches(rows):
            scores[indices] = self._forward([rows[index] for index in indices]).numpy()
        return scores

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Return float32 logits of shape (rows, classes); *images* are float32 (rows, 3, height, width)."""
        import numpy as np
        import torch

        scores = self._forward(rows, pixel_values=torch.from_numpy(images).to(self.model.dtype))
        return np.asarray(scores.numpy(), np.float32)

    def _forward(self, rows: Sequence[Sequence[int]], **more: "torch.Tensor") -> "torch.Tensor":
        """Return the model's logits for a right-padded batch."""
        import torch

        ids, mask = map(torch.from_numpy, padded(rows, self.pad))
        with torch.inference_mode():
            scores: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, **more).logits
        return scores.float()
