"""TensorRT and TensorRT-RTX: an engine file, which runs on the one GPU architecture that it was built for.

It knows token ids and arrays; neither text nor labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.engine import Engine
from framework.build.engine.model_folder import pad_token, read_json
from framework.build.engine.onnx_session import PAST
from framework.build.engine.padded_batches import padded, without_padding
from framework.build.engine.tensorrt_decoder import TensorRTDecoder
from framework.build.engine.tensorrt_session import (
    DESCRIPTION,
    Session,
    architecture_here,
    check_length,
    read_engine,
)
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np


def open_folder(folder: Path, threads: int = 0) -> Engine:
    """Open the engine file that engine.json names.

    Args:
        folder: an export of ``export=tensorrt``.
        threads: ignored on a GPU.

    Raises:
        ServeError: there is no engine, this machine has another GPU than it was built for, or the
            library is missing or has another version.
    """
    about = read_json(folder, DESCRIPTION)
    if not about or not (folder / about["engine"]).is_file():
        raise ServeError(f"{folder}: has no TensorRT engine; export the model again with export=tensorrt")
    here, built_for = architecture_here(), about["architecture"]
    if here != built_for:
        device = f"this one is {here}" if here else "torch finds none on this machine"
        remedy = f"set export.architecture={here}" if here else "set export=onnx, or use a machine with one"
        raise ServeError(f"{folder / about['engine']}: needs a GPU of {built_for}, but {device}; {remedy}")
    session, profile = Session(read_engine(folder, about), folder), about["profile"]
    if any(value.name.startswith(PAST) for value in session.get_inputs()):
        return TensorRTDecoder(session, folder, profile)
    ranks = {value.name: len(value.shape) for value in session.get_outputs()}
    kind = TensorRTTokenClassifier if ranks.get("logits") == 3 else TensorRTClassifier
    return kind(session, profile, pad_token(folder))


class TensorRTEncoder:
    """An engine without a cache, and as many passes through it as the batch needs.

    The engine's profile limits the rows of one call and their lengths.
    """

    runtime: ClassVar[str] = "tensorrt"

    def __init__(self, session: Session, profile: dict[str, list[int]], pad: int) -> None:
        self.session = session
        self.inputs = [value.name for value in session.get_inputs()]
        self.pad = pad
        self.least_rows, _, self.most_rows = profile["batch"]
        self.shortest, _, self.longest = profile["length"]

    def _scores(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits (rows, classes) or (rows, longest, tags).

        Raises:
            ServeError: a row is longer than the engine was built for.
        """
        import numpy as np

        longest = max(map(len, rows))
        check_length(longest, self.longest)
        ids, mask = padded(rows, self.pad)
        width = [(0, 0), (0, max(0, self.shortest - longest))]
        ids, mask = np.pad(ids, width, constant_values=self.pad), np.pad(mask, width)
        batches = []
        for first in range(0, len(rows), self.most_rows):
            indices = np.arange(first, min(first + self.most_rows, len(rows)))
            filled = np.pad(indices, (0, max(0, self.least_rows - len(indices))), mode="edge")
            arrays = {"input_ids": ids[filled], "attention_mask": mask[filled]}
            arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
            scores = self.session.run({name: arrays[name] for name in self.inputs})["logits"]
            batches.append(scores[: len(indices)].float().cpu().numpy())
        return np.concatenate(batches)


class TensorRTClassifier(TensorRTEncoder):
    """An open sequence classifier."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes).

        Raises:
            ServeError: a row is longer than the engine was built for.
        """
        return self._scores(rows)


class TensorRTTokenClassifier(TensorRTEncoder):
    """An open token classifier."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags).

        Raises:
            ServeError: a row is longer than the engine was built for.
        """
        return without_padding(self._scores(rows), rows)
