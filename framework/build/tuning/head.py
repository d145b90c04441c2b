"""Training some of a model's own weights: its head, its last layers, or whatever patterns name."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.tuning.architectures import final_norms, heads, stacks
from framework.build.tuning.full import Full
from framework.core.errors import StepError
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_VOCABULARY = 50_000


class Head(Full):
    """Freeze all weights but the head, or but those that are named; what is saved is the whole model.

    The head is a classifier's last layer or a language model's output layer. Where that shares its
    weights with the input embeddings, those are trained with it.
    """

    patterns: tuple[str, ...] = ()
    """Names of parameters to train instead of the head, with ``*`` for any characters: ``["*.bias"]`` is
    BitFit (Ben Zaken et al., 2021, arXiv:2106.10199). A pattern that matches nothing is an error."""
    layers: Annotated[str, Field(pattern=r"^last-[1-9][0-9]*$")] | None = None
    """``last-4``: the last 4 layers (of each stack, where there is an encoder and a decoder), the norm
    behind them and the head, besides what ``patterns`` name."""

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with the chosen weights trainable and all others frozen."""
        model.requires_grad_(False)
        for pattern in self.patterns:
            _train_matching(model, pattern)
        if self.layers is not None:
            self._train_last(model, int(self.layers.removeprefix("last-")))
        if self.layers is not None or not self.patterns:
            for part in heads(model).values():
                part.requires_grad_(True)
        if not any(weight.requires_grad for weight in model.parameters()):
            raise StepError(
                f"tuning: {type(model).__name__} has no head to train; name weights in tuning.patterns"
            )
        return model

    def _train_last(self, model: "PreTrainedModel", count: int) -> None:
        found = stacks(model)
        if not found:
            raise StepError(
                f"tuning.layers: {type(model).__name__} has no list of layers; use tuning.patterns"
            )
        for path, length in found.items():
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
        """Estimate a language model's output layer, some 50,000 rows of width d, and ``12 * d**2`` a layer.

        A classifier's head is smaller and patterns may match all: too much rather than too little.
        """
        if self.patterns:
            return parameters
        width = self.width(parameters)
        layers = int(self.layers.removeprefix("last-")) if self.layers else 0
        return min(parameters, _VOCABULARY * width + layers * 12 * width**2)


def _train_matching(model: "PreTrainedModel", pattern: str) -> None:
    named = dict(model.named_parameters())
    chosen = [weight for name, weight in named.items() if fnmatchcase(name, pattern)]
    if not chosen:
        guess = nearest(pattern, named)
        hint = f"did you mean '{guess}'?" if guess else f"names are like {', '.join(_samples(list(named)))}"
        raise StepError(f"tuning.patterns: no parameter is called '{pattern}'; {hint}")
    for weight in chosen:
        weight.requires_grad_(True)


def _samples(names: list[str]) -> list[str]:
    """Return three names of a model's parameters: the first, one from the middle, the last."""
    return list(dict.fromkeys([names[0], names[len(names) // 2], names[-1]]))
