"""Which layers get an adapter: from what a recipe says to names that the model has."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.build.tuning.architectures import heads, layers_of, linear_names, named
from framework.core.errors import StepError
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from torch.nn import Module

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Targets = Literal["all-linear", "attention", "attention-mlp"] | Names
"""``all-linear`` is every linear layer but the head; the other two are looked up by architecture."""


def resolve(targets: Targets, model: Any) -> str | list[str]:
    """Return what peft takes as ``target_modules``.

    Raises:
        StepError: a name matches nothing that could be adapted, or the architecture is not known.
    """
    if targets == "all-linear":
        # peft leaves the heads of language models and text classifiers out by itself, but no others.
        others = type(model).__name__.endswith(("ForTokenClassification", "ForQuestionAnswering"))
        return _linear_below_head(model) if others else targets
    if isinstance(targets, str):
        layers = layers_of(model)
        wanted = layers.attention if targets == "attention" else layers.attention + layers.feed_forward
        return [name for name in wanted if named(model, name)]
    refuse_unmatched(targets, model)
    return list(targets)


def _linear_below_head(model: Any) -> list[str]:
    """Return the path of every linear layer that is no part of a head."""
    from torch.nn import Linear

    above = {id(part) for head in heads(model).values() for part in head.modules()}
    return [
        path for path, part in model.named_modules() if isinstance(part, Linear) and id(part) not in above
    ]


def refuse_unmatched(names: tuple[str, ...], model: "Module", key: str = "target_modules") -> None:
    """Raise a StepError for the first of *names* that matches nothing that could be adapted."""
    for name in sorted(set(names)):
        found = [part for _, part in named(model, name)]
        # What can be adapted holds a matrix of its own; a block of layers or a norm does not.
        if any(getattr(getattr(part, "weight", None), "ndim", 0) >= 2 for part in found):
            continue
        linear = linear_names(model)
        guess = None if found else nearest(name, linear)
        hint = f"did you mean '{guess}'?" if guess else f"linear layers are {', '.join(linear)}"
        raise StepError(f"tuning.{key}: no linear layer is called '{name}'; {hint}")


def refuse_decoder_with_head(model: Any, task_type: str) -> None:
    """Raise a StepError for a classifier made of a decoder: behind a prompt it would read padding."""
    if task_type == "SEQ_CLS" and hasattr(model, "score"):
        raise StepError(
            f"tuning: {type(model).__name__} classifies by a text's last token, which cannot be found "
            "behind a learned prompt; use tuning=lora"
        )
