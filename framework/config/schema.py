"""The whole config: one component per group, and the few keys that belong to no group.

It knows only the groups' base classes; the YAML names the option of each group.
"""

import re
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from framework.build.clean import Clean, CorpusClean, RowClean
from framework.build.compression import Compression, ExportCompression, ModelCompression
from framework.build.data import Data
from framework.build.evaluation import Evaluation
from framework.build.export import Export
from framework.build.launcher import Launcher
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.select import Select
from framework.build.stages.benchmark import Benchmark
from framework.build.stages.publish import Publish
from framework.build.tracking import Tracking
from framework.build.training import Training
from framework.build.tuning import Tuning
from framework.core.component import TARGET, UNKEYED, Component
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
    """One of several consecutive trainings: what it changes in the recipe."""

    data: Data
    """The rows of this phase; missing keys are inherited from the recipe's ``data``."""
    tuning: Tuning
    """What is trained in this phase; missing keys are inherited from the recipe's ``tuning``."""
    training: Training
    """How it is trained in this phase; missing keys are inherited from the recipe's ``training``."""


_PHASE_NAME = re.compile(r"[a-z][a-z0-9-]{0,12}")
REFERENCE = "fp32"
"""The candidate that is exported without compression."""

_CANDIDATES = ("base", "tuned", REFERENCE)
"""Names that no phase may have, since names of metrics begin with them."""


class Config(Component):
    """Everything a run needs, resolved and validated.

    Fields marked ``UNKEYED`` say where it is built, stored and watched, which does not change the release.

    With ``phases``, ``data``, ``tuning`` and ``training`` are those of the last phase: it makes the model
    that is exported, and its test rows judge the exports.
    """

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
    """The release's name: at most 40 lower-case letters, digits and dashes (it names Kubernetes objects)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed of every random choice."""
    model: Model
    data: Data
    clean: Annotated[dict[str, Clean], Field(min_length=1)]
    """What removes and rewrites rows before they are encoded: one or more options, applied in this order to
    the rows of every phase. With ``clean=[normalize,exact]`` a key is ``clean.exact.on``."""
    select: Annotated[dict[str, Select], Field(min_length=1)]
    """What takes the best part of the cleaned training rows of every phase: one or more options, applied in
    this order. With ``select=[target,diversity]`` a key is ``select.target.share``."""
    tuning: Tuning
    training: Training
    parallelism: Parallelism
    evaluation: Evaluation
    compression: Annotated[dict[str, Compression], Field(min_length=1)]
    """What makes the model smaller: one or more options, applied in this order. With
    ``compression=[prune-structured,int8-dynamic]`` a key is ``compression.prune-structured.ratio``. Options
    that change the model itself come before those that change its export."""
    export: Export
    serving: Serving
    deployment: Deployment
    rollout: Rollout
    autoscaling: Autoscaling
    traffic: Traffic
    monitoring: Monitoring
    secrets: Secrets
    environment: Environment
    tracking: Annotated[Tracking, UNKEYED]
    launcher: Annotated[Launcher, UNKEYED]
    phases: dict[str, Phase] = Field(default={})
    """Consecutive trainings, such as general, domain and task; each starts from the merged weights of the
    previous one. Keys of a phase below ``data``, ``tuning`` or ``training`` change those of the recipe. An
    option chosen by ``/tuning@phases.<phase>.tuning: <option>`` in ``defaults`` replaces the group. Phases
    run in the order of this mapping."""
    gates: Gates = Field(default={})
    """Bounds that stop the plan, by metric. ``exact_match`` binds the tuned model and every candidate made of
    it that the metric is measured of: reshaped, exported, compressed, and above all the released one;
    ``run plan`` lists them. ``int4.exact_match``, which may also be written as ``exact_match`` below
    ``int4``, binds one candidate and replaces ``exact_match`` there. With phases, an earlier phase is a
    candidate too, bound by ``<phase>.<metric>`` only, and ``<phase>_<metric>`` is the metric on that phase's
    test rows: ``general_perplexity`` bounds forgetting."""
    benchmark: Benchmark = Benchmark()
    publish: Annotated[Publish, UNKEYED] = Publish()
    store: Annotated[str, UNKEYED] = ".gitune/store"
    """The folder of the artifacts, relative to the working folder."""
    environments: Annotated[str, UNKEYED] = "environments"
    """The folder of the rendered manifests, relative to the working folder."""
    reports: Annotated[str, UNKEYED] = ".gitune/reports"
    """The folder that ``run report`` and ``run compare`` write to, relative to the working folder."""
    plugins: tuple[str, ...] = ()
    """Packages besides ``framework`` that ``_target_`` may name: installed, or in the working folder."""

    @property
    def cleaning(self) -> dict[str, RowClean | CorpusClean]:
        """The options that change rows, by name, in the order in which they are applied."""
        options = self.clean.items()
        return {name: option for name, option in options if isinstance(option, RowClean | CorpusClean)}

    @property
    def selections(self) -> dict[str, Select]:
        """The options that leave rows out, by name, in the order in which they are applied."""
        return {name: option for name, option in self.select.items() if not option.changes_nothing}

    @property
    def reshapings(self) -> dict[str, ModelCompression]:
        """The options that change the model before its export, by candidate."""
        options = self.compression.values()
        return {option.label: option for option in options if isinstance(option, ModelCompression)}

    @property
    def reductions(self) -> dict[str, ExportCompression]:
        """The options that change the exported model, by candidate."""
        options = self.compression.values()
        return {option.label: option for option in options if isinstance(option, ExportCompression)}

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every candidate in order: changed before the export, exported uncompressed, exported compressed."""
        return (*self.reshapings, REFERENCE, *self.reductions)

    @property
    def shipped(self) -> str:
        """The candidate that is released."""
        return self.candidates[-1]

    @property
    def delivery(self) -> Delivery:
        """Everything that rendering depends on besides the target and the release."""
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

    @field_validator("clean", "select", "compression", mode="before")
    @classmethod
    def _refuse_nameless(cls, options: Any, info: ValidationInfo) -> Any:
        """Reject an option that Hydra placed as the whole group, since it names no package."""
        if isinstance(options, dict) and TARGET in options:
            raise PydanticCustomError(
                "nameless_option",
                "options of this group are configured below their names; begin the option's file with "
                "'# @package {group}.<name>'",
                {"group": info.field_name},
            )
        return options

    @field_validator("phases")
    @classmethod
    def _name_candidates(cls, phases: dict[str, Phase]) -> dict[str, Phase]:
        for name in phases:
            if name in _CANDIDATES or not _PHASE_NAME.fullmatch(name):
                raise PydanticCustomError(
                    "phase_name",
                    "'{name}' cannot name a phase: use at most 13 lower-case letters, digits and dashes, "
                    "a letter first, and none of {taken}",
                    {"name": name, "taken": ", ".join(_CANDIDATES)},
                )
        return phases


def _base(annotation: Any) -> type[Component] | None:
    """Return the base class of a group's options, or None where *annotation* is of no group."""
    cls = annotation if isinstance(annotation, type) else get_args(annotation)[-1]
    return cls if isinstance(cls, type) and issubclass(cls, Component) else None


BASES: dict[str, type[Component]] = {
    name: base
    for name, field in Config.model_fields.items()
    if field.is_required() and (base := _base(field.annotation)) is not None
}
"""The base class of each config group."""

GROUPS = tuple(BASES)
"""The config groups, in the order in which a plan reads them."""

SEVERAL = tuple(group for group in GROUPS if Config.model_fields[group].annotation is not BASES[group])
"""The groups that allow several options, each configured below its name."""
