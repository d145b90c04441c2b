"""What an opened PyTorch model can do, one class for each kind of model; knows token ids and tensors.

Each answers in float32, whatever the weights are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import GREEDY, Sampling, Scored
from framework.build.engine.attached_adapter import following
from framework.build.engine.decoding import Step, decode, decode_together
from framework.build.engine.guidance import Guided
from framework.build.engine.model_folder import context_length, end_of_sequence, pad_token, room
from framework.build.engine.padded_batches import batches, padded, without_padding
from framework.build.engine.pooling import mean_pooled
from framework.build.engine.text_decoder import TextDecoder

if TYPE_CHECKING:
    import numpy as np
    import torch


class TorchModel:
    """An open model, and one forward pass through it."""

    runtime: ClassVar[str] = "torch"

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = model
        self.folder, self.ends = folder, end_of_sequence(folder)
        self.pad = pad_token(folder)
        self.context = context_length(folder)

    def _forward(self, ids: "np.ndarray", mask: "np.ndarray", **more: "torch.Tensor") -> "np.ndarray":
        """Return the model's logits for a right-padded batch."""
        import numpy as np
        import torch

        with torch.inference_mode():
            scores = self.model(
                input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), **more
            ).logits
        return np.asarray(scores.float().numpy())

    def _stepping(self, argument: str, **fixed: Any) -> Step:
        """Return a step function with an empty key-value cache.

        Args:
            argument: the model's argument that the token ids are passed as.
            fixed: its other arguments, the same at every step.
        """
        import torch

        cache, model = None, self.model

        def step(ids: "np.ndarray") -> "np.ndarray":
            nonlocal cache, model
            # Entered at each step: held open over a yield, it would leak into the caller.
            with torch.inference_mode():
                tokens = {argument: torch.from_numpy(ids)}
                out = model(**tokens, **fixed, past_key_values=cache, use_cache=True)
            cache, model = out.past_key_values, following(self.model)
            scores: np.ndarray = out.logits[:, -1].float().numpy()
            return scores

        return step


class TorchDecoder(TorchModel, TextDecoder):
    """An open language model."""

    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return logits of the rows' own tokens; a learned prompt's, which come first, are cut off."""
        return self._forward(ids, mask)[:, -ids.shape[1] :]

    def _begin(self, rows: int) -> Step:
        """Return a step function; the cache grows to the rows of its first call."""
        return self._stepping("input_ids")


class TorchEncoderDecoder(TorchModel, Guided):
    """An open model that reads with an encoder and writes with a decoder."""

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Return, for each row's answer of A token ids, float32 logits of shape (A, vocabulary)."""
        import torch

        logits = []
        for row, answer in zip(rows, answers, strict=True):
            start = self.model.config.decoder_start_token_id
            inputs = {
                "input_ids": torch.tensor([row]),
                "decoder_input_ids": torch.tensor([[start, *answer[:-1]]]),
            }
            with torch.inference_mode():
                logits.append(self.model(**inputs).logits[0].float().numpy())
        return logits

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids of the answer to *prompt*; see ``generate_scored``."""
        return (each.token for each in self.generate_scored(prompt, max_new_tokens, sampling))

    def generate_scored(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[Scored]:
        """Return the tokens of the answer to *prompt*, one forward pass a token.

        They stop before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context, or the grammar cannot be used.
        """
        room(len(prompt), 0, self.context)  # the encoder reads all of it
        start = [self.model.config.decoder_start_token_id]
        limit, guide = room(len(start), max_new_tokens, self.context), self._guide(sampling.grammar)
        return decode(self._begin([prompt]), start, limit, self.ends, sampling, guide)

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of every answer, greedily, ignoring end tokens; prompts have one length."""
        starts = [[self.model.config.decoder_start_token_id]] * len(prompts)
        yield from decode_together(self._begin(prompts), starts, new_tokens)

    def _begin(self, prompts: Sequence[Sequence[int]]) -> Step:
        """Let the encoder read *prompts*; return the decoder's step function."""
        import torch

        with torch.inference_mode():
            encoded = self.model.get_encoder()(input_ids=torch.tensor(prompts))
        return self._stepping("decoder_input_ids", encoder_outputs=encoded)


class TorchTokenClassifier(TorchModel):
    """An open token classifier."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags)."""
        by_row: dict[int, np.ndarray] = {}
        for indices in batches(rows):
            batch = [rows[index] for index in indices]
            ids, mask = padded(batch, self.pad)
            scores = self._forward(ids, mask)[:, -ids.shape[1] :]  # a learned prompt comes first
            by_row |= zip(indices, without_padding(scores, batch), strict=True)
        return [by_row[index] for index in range(len(rows))]


class TorchClassifier(TorchModel):
    """An open sequence classifier."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes)."""
        import numpy as np

        scores = np.zeros((len(rows), self.model.config.num_labels), np.float32)
        for indices in batches(rows):
            scores[indices] = self._forward(*padded([rows[index] for index in indices], self.pad))
        return scores


class TorchEmbedder(TorchModel):
    """An open text-embedding model."""

    def __init__(self, model: Any, folder: Path) -> None:
        super().__init__(model, folder)
        self.dimensions = int(model.config.hidden_size)

    def embed(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 vectors of length 1, (rows, dimensions)."""
        import numpy as np
        import torch

        vectors = np.zeros((len(rows), self.dimensions), np.float32)
        for indices in batches(rows):
            arrays = padded([rows[index] for index in indices], self.pad)
            ids, mask = (torch.from_numpy(array) for array in arrays)
            with torch.inference_mode():
                hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
                vectors[indices] = mean_pooled(hidden, mask).numpy()
        return vectors


class TorchImageClassifier(TorchModel):
    """An open classifier of texts with an image each."""

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Return float32 logits of shape (rows, classes); *images* are float32 (rows, 3, height, width)."""
        import torch

        pixels = torch.from_numpy(images).to(self.model.dtype)
        return self._forward(*padded(rows, self.pad), pixel_values=pixels)
