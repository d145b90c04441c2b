"""Partial fine-tuning: train the head, the last layers or parameters that match patterns."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.tuning.architectures import final_norms, heads, stacks
from framework.build.tuning.full import Full
from framework.core.errors import StepError
from framework.core.suggest import nearest
from framework.core.workload import VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Head(Full):
    """Train only the head, or the weights selected by ``patterns`` and ``layers``; the whole model is saved.

    The head is a classifier's last layer or a language model's output layer. If the output layer is tied to
    the input embeddings, they are trained too.
    """

    patterns: tuple[str, ...] = ()
    """Names of parameters to train instead of the head; ``*`` matches any characters. ``["*.bias"]`` is
    BitFit (Ben Zaken et al., 2021, arXiv:2106.10199). A pattern that matches nothing is an error."""
    layers: Annotated[str, Field(pattern=r"^last-[1-9][0-9]*$")] | None = None
    """``last-4`` trains the last 4 layers (of encoder and decoder, each), the final norm and the head, in
    addition to ``patterns``."""

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with the selected weights trainable and all others frozen."""
        model.requires_grad_(False)
        for pattern in self.patterns:
            _train_matching(model, pattern)
        if self.layers is not None:
            self._train_last(model, int(self.layers.removeprefix("last-")))
        if self.layers is not None or not self.patterns:
            for head in heads(model).values():
                head.requires_grad_(True)
        if not any(weight.requires_grad for weight in model.parameters()):
            raise StepError(f"tuning=head: {type(model).__name__} has no head to train; set tuning.patterns")
        return model

    def _train_last(self, model: "PreTrainedModel", count: int) -> None:
        lengths = stacks(model)
        if not lengths:
            raise StepError(
                f"tuning.layers: {type(model).__name__} has no list of layers; set tuning.patterns instead"
            )
        for path, length in lengths.items():
            if count > length:
                raise StepError(
                    f"tuning.layers: {path} has {length} layers, not {count}; set tuning.layers=last-{length}"
                )
            layers: Any = model.get_submodule(path)
            for layer in layers[length - count :]:
                layer.requires_grad_(True)
        for path in final_norms(model):
            model.get_submodule(path).requires_grad_(True)

    def trainable(self, parameters: float) -> float:
        """Estimate a language model's output layer (50,000 rows of width d) and ``12 * d**2`` per layer.

        It is an upper bound: a classifier's head is smaller, and patterns may match only a few weights.
        """
        if self.patterns:
            return parameters
        width = self.width(parameters)
        layers = int(self.layers.removeprefix("last-")) if self.layers else 0
        return min(parameters, VOCABULARY * width + layers * 12 * width**2)


def _train_matching(model: "PreTrainedModel", pattern: str) -> None:
    weights = dict(model.named_parameters())
    matching = [weight for name, weight in weights.items() if fnmatchcase(name, pattern)]
    if not matching:
        guess = nearest(pattern, weights)
        hint = f"did you mean '{guess}'?" if guess else f"examples: {', '.join(_samples(list(weights)))}"
        raise StepError(f"tuning.patterns: no parameter matches '{pattern}'; {hint}")
    for weight in matching:
        weight.requires_grad_(True)


def _samples(names: list[str]) -> list[str]:
    """Return the first, the middle and the last name."""
    return list(dict.fromkeys([names[0], names[len(names) // 2], names[-1]]))
