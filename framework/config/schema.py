"""The whole config: one component a group, and the few keys that belong to none.

Knows the groups' base classes only; which option is chosen, the YAML says.
"""

import re
from typing import Annotated, Any, get_args

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from framework.autoscaling import Autoscaling
from framework.compression import Compression, ExportCompression, ModelCompression
from framework.core.bound import Gates
from framework.core.component import TARGET, UNKEYED, Component
from framework.data import Data
from framework.deployment import Delivery, Deployment
from framework.environment import Environment
from framework.evaluation import Evaluation
from framework.export import Export
from framework.launcher import Launcher
from framework.model import Model
from framework.monitoring import Monitoring
from framework.parallelism import Parallelism
from framework.rollout import Rollout
from framework.secrets import Secrets
from framework.serving import Serving
from framework.tracking import Tracking
from framework.traffic import Traffic
from framework.training import Training
from framework.tuning import Tuning


class Benchmark(Component):
    """How fast each candidate is: measured the same way for all of them."""

    prompt_tokens: Annotated[int, Field(ge=1)] = 64
    """Tokens of the prompt that the first token is timed on, or of a classifier's row."""
    new_tokens: Annotated[int, Field(ge=3)] = 32
    """Tokens that are generated one by one for decode speed and its percentiles."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Calls before the clock starts; 0 counts what a runtime prepares on its first call."""
    repeats: Annotated[int, Field(ge=1)] = 3
    """How often the whole measurement is taken, ten times as often for classifiers; medians, percentiles
    and spreads are over all of it."""
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 4, 16)
    """Rows of one classifier call, or prompts that are answered at once, in growing order; classifiers'
    headline speed is of the last."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """The bound within which the best batch size is chosen, in milliseconds: p99 of a classifier's call, or
    between two tokens of an answer. None chooses the fastest."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of every engine, equal for all candidates."""

    @field_validator("batch_sizes")
    @classmethod
    def _growing(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise PydanticCustomError(
                "batch_sizes", "give each size once, in growing order, such as [1, 4, 16]"
            )
        return sizes


class Publish(Component):
    """Where finished models go."""

    url: str = "file://.gitune/models"
    """The model store: any URL that fsspec opens; a ``file://`` path may be relative to the folder
    that ``run`` is called in."""
    keep: Annotated[Annotated[int, Field(ge=1)] | None, UNKEYED] = 12
    """Versions of a release that stay in the model store, the newest; older ones are removed when another is
    published, but none that a place of ``environments/`` runs, here or on a branch, or ran shortly before.
    None keeps all."""


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
