"""Four-bit weights for frozen linear layers, by bitsandbytes; on the CPU as well as on a GPU.

It knows which layers stay float; what is trained beside them, it does not know.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from framework.build.tuning.architectures import heads
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor


def quantize(model: Any, double: bool) -> None:
    """Replace the linear layers of *model* below its head by frozen nf4 ones, in place.

    The same weights give the same four bits, so that a resumed run finds the base that it left.

    Raises:
        StepError: bitsandbytes is not installed, or there is no linear layer.
    """
    if find_spec("bitsandbytes") is None:
        raise StepError("tuning.base_precision=nf4 needs bitsandbytes: pip install 'gitune[qlora]'")
    from torch.nn import Linear

    above = {id(part) for head in heads(model).values() for part in head.modules()}
    layers = [(path, part) for path, part in model.named_modules() if isinstance(part, Linear)]
    chosen = [(path, part) for path, part in layers if id(part) not in above]
    if not chosen:
        raise StepError(f"tuning.base_precision=nf4: {type(model).__name__} has no linear layer to quantize")
    kind = _layer_class()
    for path, part in chosen:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, kind(part, double))
    model.is_loaded_in_4bit = True  # peft asks for this before it looks at the layers


def _layer_class() -> Any:
    import bitsandbytes as bnb
    import torch

    class Nf4Linear(bnb.nn.Linear4bit):  # type: ignore[misc]  # the library has no types
        """A frozen linear layer whose weight is unpacked for each product, in autocast's precision.

        bitsandbytes' own layer fixes its precision at the first call, rounds its bias in place to that of
        each input, and repacks the weight for one kind of CPU in evaluation mode; none of that may happen
        to a base that must stay the same.
        """

        def __init__(self, plain: torch.nn.Linear, double: bool) -> None:
            super().__init__(plain.in_features, plain.out_features, bias=False, device="meta")
            weight = bnb.nn.Params4bit(
                plain.weight.data,
                requires_grad=False,
                compress_statistics=double,
                quant_type="nf4",
                module=self,
            )
            self.weight = weight.to("cpu")  # moving it is what quantizes it
            self.bias = plain.bias
            self.train(plain.training)

        def forward(self, x: "Tensor") -> "Tensor":
            kind = x.device.type
            if torch.is_autocast_enabled(kind):
                x = x.to(torch.get_autocast_dtype(kind))
            bias = None if self.bias is None else self.bias.to(x.dtype)
            product: Tensor = bnb.matmul_4bit(x, self.weight, bias=bias, quant_state=self.weight.quant_state)
            return product

    return Nf4Linear
