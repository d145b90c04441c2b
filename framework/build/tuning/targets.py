"""Resolve ``target_modules`` of a recipe to layers of the model."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.build.tuning.architectures import heads, layers_of, linear_names, named
from framework.core.errors import StepError
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from torch.nn import Module

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Targets = Literal["all-linear", "attention", "attention-mlp"] | Names
"""``all-linear`` is every linear layer except the head; the others depend on the architecture."""


def resolve(targets: Targets, model: Any) -> str | list[str]:
    """Return the value of peft's ``target_modules``.

    Raises:
        StepError: a name matches no layer that can be adapted, or the architecture is not known.
    """
    if targets == "all-linear":
        # peft excludes the heads of language models and text classifiers, but no others.
        others = type(model).__name__.endswith(("ForTokenClassification", "ForQuestionAnswering"))
        return _linear_below_head(model) if others else targets
    if isinstance(targets, str):
        layers = layers_of(model)
        names = layers.attention if targets == "attention" else layers.attention + layers.feed_forward
        return [name for name in names if named(model, name)]
    refuse_unmatched(targets, model)
    return list(targets)


def _linear_below_head(model: Any) -> list[str]:
    """Return the path of every linear layer outside the head."""
    from torch.nn import Linear

    head_modules = {id(module) for head in heads(model).values() for module in head.modules()}
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, Linear) and id(module) not in head_modules
    ]


def refuse_unmatched(names: tuple[str, ...], model: "Module", key: str = "target_modules") -> None:
    """Raise a StepError for the first of *names* that matches no layer that can be adapted."""
    for name in sorted(set(names)):
        modules = [module for _, module in named(model, name)]
        # A layer that can be adapted has a weight matrix; a block of layers or a norm does not.
        if any(getattr(getattr(module, "weight", None), "ndim", 0) >= 2 for module in modules):
            continue
        linear = linear_names(model)
        guess = None if modules else nearest(name, linear)
        hint = f"did you mean '{guess}'?" if guess else f"the linear layers are {', '.join(linear)}"
        raise StepError(f"tuning.{key}: no linear layer is named '{name}'; {hint}")


def refuse_decoder_with_head(model: Any, task_type: str) -> None:
    """Raise a StepError for a decoder with a classification head, which would classify a padding token."""
    if task_type == "SEQ_CLS" and hasattr(model, "score"):
        raise StepError(
            f"tuning: {type(model).__name__} classifies the last token of a text, whose position shifts with "
            "a learned prompt; set tuning=lora"
        )
