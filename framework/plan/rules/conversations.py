"""The rules of conversations: the model has a chat template, and supports what the rows should teach."""

from framework.config.schema import Config
from framework.core.errors import SourceError
from framework.core.problem import Problem


def template_rules(config: Config) -> list[Problem]:
    """Return what the model option knows to be wrong before anything is fetched."""
    try:
        return config.model.problems()
    except SourceError:
        return []  # the rules of sources have it


def loss_rules(config: Config) -> list[Problem]:
    """Return a ``data.loss_on`` that the model does not support."""
    chosen, supported = config.data.loss_on, config.model.losses
    if chosen in supported:
        return []
    reason = f"{config.model.name} is not trained with a loss on {chosen.replace('_', ' ')}"
    return [Problem("data.loss_on", reason, tuple(f"data.loss_on={value}" for value in supported))]
