"""The rules of the model's architecture: what the tuning method and the export cannot do with it.

They need the model's ``config.json``, which is not at hand before a download; the stages ``model`` and
``tune`` ask the same of the model itself.
"""

from collections.abc import Mapping
from typing import Any

from framework.config.schema import Config
from framework.core.problem import Problem
from framework.plan.rules.phases import in_each_phase


def architecture_rules(config: Config, model_config: Mapping[str, Any]) -> list[Problem]:
    """Return what does not work with the model that *model_config*, its ``config.json``, describes."""
    if not model_config:
        return []
    problems = in_each_phase(config, lambda phase: phase.tuning.problems(model_config))
    supports_task = config.model.task in config.export.tasks  # else another rule refuses it
    if supports_task and (reason := config.export.unsupported(model_config)):
        plain = " compression=none" if config.reductions else ""
        problems.append(Problem("export", reason, (f"export=transformers{plain}",)))
    return problems
