"""What a release is made of: the base model, data sets and libraries, as the config and the plan name them.

Plain data, read without opening a model or a row. Local files are hashed, as for a plan.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from framework.build.data import Data
from framework.build.model import Model
from framework.config.schema import Config
from framework.core import hub
from framework.core.component import Component
from framework.core.source import Source
from framework.plan.build import Plan
from framework.report.settings import settings

_DIGEST = "sha256:"


@dataclass(frozen=True)
class Material:
    """A base model or a data set."""

    name: str
    url: str
    """Its source, with the revision where there is one; of a model without a source, how it is made."""
    digest: str | None
    """``sha256:<hex>`` of the file or folder; None if the config does not have it."""
    license: str | None
    """As its option states it; None: unknown."""

    @property
    def sha256(self) -> str | None:
        """The digest's 64 hex digits."""
        return self.digest.removeprefix(_DIGEST) if self.digest else None

    @property
    def uri(self) -> str:
        """Its source as a URI; of a model that is made here, a name."""
        if "://" in self.url:
            return self.url
        kind = "file" if self.digest else "urn:gitune:model"
        return f"{kind}:{quote(self.url if self.digest else self.name)}"

    @property
    def address(self) -> hub.Address | None:
        """Where it is in the Hugging Face Hub; None if it is not from there."""
        return hub.Address.parse(self.url) if self.url.startswith("hf://") else None


@dataclass(frozen=True)
class Materials:
    """Everything that a release is made of, besides its lock."""

    model: Material
    parameters: float
    """The base model's number of parameters, as its option states it."""
    teachers: tuple[Material, ...]
    """Other models whose answers were learned."""
    data: tuple[Material, ...]
    """Every source of rows once, in the order of the config."""
    libraries: Mapping[str, str]
    """The versions that the steps' keys cover, by distribution."""
    settings: Mapping[str, str]
    """The chosen options, by group."""
    accepted: tuple[str, ...]
    """The licenses that forbid a use and were accepted, as the config names them."""
    launcher: str
    """The launcher that built it, such as ``local``."""


def gather_materials(config: Config, plan: Plan) -> Materials:
    """Return what *config*, planned as *plan*, makes a release of.

    Raises:
        SourceError: a local file is missing, or has another sha256 than the config says.
    """
    libraries: dict[str, str] = {}
    for step in plan.steps:
        recorded = step.identity()["libraries"]
        libraries |= {name: version for name, version in recorded.items() if version is not None}
    models = [part for part in config.walk() if isinstance(part, Model)]
    return Materials(
        model=_model(config.model),
        parameters=config.model.parameters,
        teachers=tuple(dict.fromkeys(_model(model) for model in models if model != config.model)),
        data=tuple(dict.fromkeys(found for data in _data(config) for found in _sources(data))),
        libraries=dict(sorted(libraries.items())),
        settings=settings(config),
        accepted=config.publish.accept_licenses,
        launcher=type(config.launcher).__module__.rpartition(".")[2],
    )


def _model(model: Model) -> Material:
    source = getattr(model, "source", None)
    digest = source.fingerprint() if isinstance(source, Source) else None
    return Material(model.name, model.origin, _sha256(digest), model.license or None)


def _data(config: Config) -> list[Data]:
    """Return the data option of each phase, or the recipe's."""
    return [phase.data for phase in config.phases.values()] or [config.data]


def _sources(data: Data) -> Iterator[Material]:
    for source, license_ in licensed(data, data.license):
        yield Material(source.url, source.url, _sha256(source.fingerprint()), license_)


def licensed(part: Component, known: str | None) -> Iterator[tuple[Source, str | None]]:
    """Yield every source below *part* with its license: that of the innermost data option with one."""
    if isinstance(part, Source):
        yield part, known
        return
    known = (part.license if isinstance(part, Data) else None) or known
    for name in part.field_names():
        for below in _direct(getattr(part, name)):
            yield from licensed(below, known)


def _direct(value: object) -> Iterator[Component]:
    """Yield the components that *value* is or holds, but not those below them."""
    if isinstance(value, Component):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _direct(item)


def _sha256(fingerprint: str | None) -> str | None:
    """Return a fingerprint if it is a digest; that of a source without one is its URL."""
    return fingerprint if fingerprint and fingerprint.startswith(_DIGEST) else None
