"""The whole config: one component a group, and the few keys that belong to none.

Knows the groups' base classes only; which option is chosen, the YAML says.
"""

import re
from typing import Annotated, Any, get_args

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import Compression, ExportCompression, ModelCompression
from framework.build.data import Data
from framework.build.evaluation import Evaluation
from framework.build.export import Export
from framework.build.launcher import Launcher
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.stages.benchmark import Benchmark
from framework.build.stages.publish import Publish
from framework.build.tracking import Tracking
from framework.build.training import Training
from framework.build.tuning import Tuning
from framework.core.component import TARGET, Component
from framework.core.gates import Gates
from framework.delivery.autoscaling import Autoscaling
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.environment import Environment
from framework.delivery.monitoring import Monitoring
from framework.delivery.rollout import Rollout
from framework.delivery.secrets import Secrets
from framework.delivery.traffic import Traffic
from framework.serving import Serving


class Phase(Component):
    """One of several trainings in a row: what it does otherwise than the recipe."""

    data: Data
    """The rows of this phase; what it does not say is as in the recipe's ``data``."""
    tuning: Tuning
    """What is trained in this phase; what it does not say is as in the recipe's ``tuning``."""
    training: Training
    """How it is trained in this phase; what it does not say is as in the recipe's ``training``."""


_PHASE_NAME = re.compile(r"[a-z][a-z0-9-]{0,12}")
REFERENCE = "fp32"
"""The candidate that is exported without compression."""

_CANDIDATES = ("base", "tuned", REFERENCE)
"""What a phase may not be called: names of metrics begin with these."""


class Config(Component):
    """Everything a run needs, resolved and validated.

    With ``phases``, the last one's ``data``, ``tuning`` and ``training`` stand in these fields too:
    they made the model that is exported, and their test rows are those that it is judged by.
    """

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
    """The release's name: lower-case letters, digits and dashes, at most 40 (it names Kubernetes
    objects)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed of every random choice."""
    model: Model
    data: Data
    tuning: Tuning
    training: Training
    parallelism: Parallelism
    evaluation: Evaluation
    compression: Annotated[dict[str, Compression], Field(min_length=1)]
    """What makes the model smaller, one option a key, applied in this order:
    ``compression=[prune-structured,int8-dynamic]``, whose keys are ``compression.prune-structured.ratio`` and
    so on; those that change the model itself come before those that change what was exported."""
    export: Export
    serving: Serving
    deployment: Deployment
    rollout: Rollout
    autoscaling: Autoscaling
    traffic: Traffic
    monitoring: Monitoring
    secrets: Secrets
    environment: Environment
    tracking: Tracking
    launcher: Launcher
    phases: dict[str, Phase] = Field(default={})
    """Trainings in a row, such as general, domain and task; each goes on from the merged weights of
    the one before. A phase names what it does otherwise: keys below ``data``, ``tuning`` or ``training``
    change the recipe's, and an option that is chosen by ``/tuning@phases.<phase>.tuning: <option>`` in
    ``defaults`` stands for the whole group. They run in the order in which they stand here."""
    gates: Gates = Field(default={})
    """Bounds that stop the plan, by metric: ``exact_match`` of the tuned model, or any candidate's as
    ``int4.exact_match``, which may also stand as ``exact_match`` below ``int4``. With phases, a phase is
    a candidate too, and ``<phase>_<metric>`` is the metric on that phase's test rows:
    ``tuned.general_perplexity`` bounds what may be forgotten."""
    benchmark: Benchmark = Benchmark()
    publish: Publish = Publish()
    store: str = ".gitune/store"
    """The folder of the artifacts; relative to the folder that ``run`` is called in."""
    environments: str = "environments"
    """The folder of the rendered manifests; relative to the folder that ``run`` is called in."""
    reports: str = ".gitune/reports"
    """The folder that `run report` and `run compare` write to; relative to the folder that ``run`` is
    called in."""
    plugins: tuple[str, ...] = ()
    """Packages besides ``framework`` that ``_target_`` may name; installed, or in the working folder."""

    @property
    def reshapings(self) -> dict[str, ModelCompression]:
        """The options that change the model before its export, by the name of their candidate."""
        chosen = self.compression.values()
        return {each.label: each for each in chosen if isinstance(each, ModelCompression)}

    @property
    def reductions(self) -> dict[str, ExportCompression]:
        """The options that change what was exported, by the name of their candidate."""
        chosen = self.compression.values()
        return {each.label: each for each in chosen if isinstance(each, ExportCompression)}

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every compressed candidate, and before those that were exported ``fp32``, the export as it is."""
        return (*self.reshapings, REFERENCE, *self.reductions)

    @property
    def shipped(self) -> str:
        """The candidate that is released."""
        return self.candidates[-1]

    @property
    def delivery(self) -> Delivery:
        """All that rendering depends on besides the target and the release."""
        return Delivery(
            serving=self.serving,
            environment=self.environment,
            rollout=self.rollout,
            autoscaling=self.autoscaling,
            traffic=self.traffic,
            monitoring=self.monitoring,
            secrets=self.secrets,
        )

    def during(self, phase: Phase) -> "Config":
        """Return this config as if *phase* were the whole recipe."""
        groups = {"data": phase.data, "tuning": phase.tuning, "training": phase.training}
        return self.model_copy(update={**groups, "phases": {}})

    @field_validator("compression", mode="before")
    @classmethod
    def _refuse_nameless(cls, compression: Any) -> Any:
        """Refuse an option of several that stands for the whole group, as Hydra puts it by itself."""
        if isinstance(compression, dict) and TARGET in compression:
            raise PydanticCustomError(
                "nameless_option",
                "options of this group stand below their names; let the option's file begin with "
                "'# @package compression.<its name>'",
            )
        return compression

    @field_validator("phases")
    @classmethod
    def _name_candidates(cls, phases: dict[str, Phase]) -> dict[str, Phase]:
        for name in phases:
            if name in _CANDIDATES or not _PHASE_NAME.fullmatch(name):
                raise PydanticCustomError(
                    "phase_name",
                    "a phase cannot be called '{name}': its name is at most 13 lower-case letters, digits "
                    "and dashes, a letter first, and none of {taken}",
                    {"name": name, "taken": ", ".join(_CANDIDATES)},
                )
        return phases


def _base(annotation: Any) -> type[Component] | None:
    """Return the base class of a group's options, which may stand below names."""
    found = annotation if isinstance(annotation, type) else get_args(annotation)[-1]
    return found if isinstance(found, type) and issubclass(found, Component) else None


BASES: dict[str, type[Component]] = {
    name: base
    for name, field in Config.model_fields.items()
    if field.is_required() and (base := _base(field.annotation)) is not None
}
"""The base class of each config group."""

GROUPS = tuple(BASES)
"""The config groups, in the order in which a plan reads them."""

SEVERAL = tuple(group for group in GROUPS if Config.model_fields[group].annotation is not BASES[group])
"""The groups of which several options may be chosen, each below its name."""
