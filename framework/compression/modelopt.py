"""Quantisation by NVIDIA's ModelOpt on training rows, written as a Hugging Face checkpoint: the shared parts.

Knows one call that quantises and the folder that comes of it; which numbers, an option says.
"""

import copy
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.compression import Exported
from framework.compression.checkpoint import check_groups, check_plain, take_over
from framework.core.errors import StepError
from framework.core.quiet import quiet
from framework.engine.torch import open_model

_ALGORITHM = "hf_quant_config.json"


def quantise(
    exported: Exported,
    output: Path,
    rows: Sequence[list[int]],
    preset: str,
    algorithm: dict[str, Any] | None = None,
    group_size: int | None = None,
) -> None:
    """Quantise the folder in *exported* and write it as vLLM and TensorRT-LLM read it, all else in bfloat16.

    Args:
        exported: a Hugging Face folder of a language model.
        output: an empty folder.
        rows: token ids to calibrate on.
        preset: the name of ModelOpt's configuration, such as ``FP8_DEFAULT_CFG``.
        algorithm: what replaces the preset's own.
        group_size: weights in a row that share one scale; None where the preset has no groups.

    Raises:
        StepError: the group size does not divide a layer, or ModelOpt cannot express the model.
    """
    import torch

    check_plain(exported.folder)
    model = open_model(exported.folder)
    if group_size is not None:
        check_groups(model, group_size, "awq")
    with tempfile.TemporaryDirectory() as scratch, quiet():
        from modelopt.torch.export import export_hf_checkpoint

        try:
            _calibrate(model, rows, _chosen(preset, algorithm, group_size))
            export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=scratch)
        except Exception as error:  # ModelOpt has no exceptions of its own
            first_line = str(error).partition("\n")[0] or type(error).__name__
            raise StepError(
                f"ModelOpt cannot quantise {type(model).__name__}: {first_line}; set compression=none"
            ) from error
        described = {} if group_size is None else {"group_size": group_size}
        take_over(exported.folder, Path(scratch), output, described, dtype="bfloat16")
        shutil.copyfile(Path(scratch) / _ALGORITHM, output / _ALGORITHM)


def _chosen(preset: str, algorithm: dict[str, Any] | None, group_size: int | None) -> dict[str, Any]:
    import modelopt.torch.quantization as quantization

    chosen: dict[str, Any] = copy.deepcopy(getattr(quantization, preset))
    if algorithm is not None:
        chosen["algorithm"] = algorithm
    for entry in chosen["quant_cfg"]:
        sizes = (entry.get("cfg") or {}).get("block_sizes")
        if sizes and group_size is not None:
            sizes[-1] = group_size
    return chosen


def _calibrate(model: Any, rows: Sequence[list[int]], chosen: dict[str, Any]) -> None:
    import modelopt.torch.quantization as quantization
    import torch

    def read(inner: Any) -> None:
        for row in rows:
            inner(input_ids=torch.tensor([row]))

    with torch.no_grad():
        quantization.quantize(model, chosen, read)
