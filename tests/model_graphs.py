"""Export tiny models to the formats of engines, quietly."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any


def export_to_genai(model: Path, output: Path, precision: str) -> Path:
    """Write a Hugging Face folder in onnxruntime-genai's format; return *output*."""
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    arguments = ("", str(model), str(output), precision, "cpu", str(output / "cache"))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        create_model(*arguments, **parse_extra_options(*arguments, None))
    return output


def classifier_graph(model: Any) -> Any:
    """Export an encoder's logits to ONNX, with dynamic batch and sequence."""
    import torch

    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    axes = {0: batch, 1: sequence}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 5, dtype=torch.long)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).logits

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            Logits().eval(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            dynamo=True,
            dynamic_shapes=(axes,) * 3,
            input_names=names,
            output_names=["logits"],
            verbose=False,
        )
