"""Full training through rounding: each product sees weights and activations as they will be once quantized.

It is no option of the group ``tuning``: what it makes is a compressed model. It knows no rows and no losses.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.compression.rounding_grid import Scheme, rounded
from framework.build.tuning.architectures import heads
from framework.build.tuning.full import Full
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class FakeQuantized(Full):
    """Train all weights, of which every linear layer uses rounded ones; the head too, but for ``8da4w``.

    Weights are rounded to the engines' grid (``framework.build.compression.rounding_grid``). Where the
    scheme says so, torchao rounds activations to int8 with a range for each token. Gradients pass as if
    nothing were rounded (straight-through estimation: Bengio et al., 2013, arXiv:1308.3432). The rounded
    weights are saved as floats. A head that is tied to the embeddings is saved unrounded.
    """

    scheme: Scheme
    """See ``Qat``."""
    group_size: Annotated[int, Field(ge=1)]
    """See ``Qat``."""

    @property
    def spreads(self) -> frozenset[str]:
        """In no way: a block's scale is known only where the block is whole."""
        return frozenset()

    def requires(self) -> Mapping[str, str]:
        """Return torchao, which rounds the activations."""
        return {"torchao": "compress"}

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with linear layers that round.

        Raises:
            StepError: there is none, a block would not divide its inputs, or torchao is not installed.
        """
        if find_spec("torchao") is None:
            raise StepError("compression.qat needs torchao: pip install 'gitune[compress]'")
        left = heads(model).values() if self.scheme == "8da4w" else ()
        above = {id(part) for head in left for part in head.modules()}
        chosen = [path for path, part in _linears(model).items() if id(part) not in above]
        if not chosen:
            raise StepError(f"compression.qat: {type(model).__name__} has no linear layer to round")
        self._check_blocks(model, chosen)
        with quiet():  # torchao tells of kernels for GPUs that it could not load
            _prepare(model, chosen, self)
        return super().apply(model, task, steps)

    def _check_blocks(self, model: Any, paths: list[str]) -> None:
        if self.scheme == "int8":
            return
        for path in paths:
            inputs = model.get_submodule(path).in_features
            if inputs % self.group_size:
                fitting = next(size for size in (128, 64, 32, 16, 8, 4, 2, 1) if inputs % size == 0)
                raise StepError(
                    f"compression.qat.group_size: {self.group_size} does not divide the {inputs} inputs of "
                    f"{path}; set compression.qat.group_size={fitting}"
                )

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write the whole model, with the weights of the layers that round already rounded."""
        weights = dict(model.state_dict() if state is None else state)
        looked_up = model.get_input_embeddings().weight
        for path, part in _linears(model).items():
            if hasattr(part, "weight_fake_quantizer") and part.weight is not looked_up:
                name = f"{path}.weight"
                weights[name] = rounded(weights[name].detach(), self.scheme, self.group_size)
        super().save(model, output, weights)


def _linears(model: Any) -> dict[str, Any]:
    from torch.nn import Linear

    return {path: part for path, part in model.named_modules() if isinstance(part, Linear)}


def _prepare(model: Any, paths: list[str], tuning: FakeQuantized) -> None:
    """Replace the linear layers at *paths* by torchao's, which round, in place; weights keep their names."""
    import torch
    from torchao.quantization import quantize_
    from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weight: Any) -> Any:
            return rounded(weight, tuning.scheme, tuning.group_size)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0]

    class ToGrid(torch.nn.Module):
        def forward(self, weight: Any) -> Any:
            passed: Any = Through
            return passed.apply(weight)

    wanted = set(paths)
    by_token = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    quantize_(model, QATConfig(activation_config=by_token, step="prepare"), lambda _, path: path in wanted)
    for path in paths:
        layer: Any = model.get_submodule(path)
        layer.weight_fake_quantizer = ToGrid()
        if tuning.scheme == "int4":
            layer.activation_fake_quantizer = None
