"""The rules of licenses: what forbids a tuned model to be used or passed on needs a word of its own.

They know what licenses are called, not what they say; see ``framework.core.licenses``.
"""

from collections.abc import Iterator

from framework.build.data import Data
from framework.build.model import Model
from framework.config.schema import Config
from framework.core.component import Component
from framework.core.licenses import forbidden, is_unknown, plain
from framework.core.problem import Problem
from framework.core.source import Source
from framework.plan.rules.sources import named_components


def license_rules(config: Config) -> list[Problem]:
    """Return every license that forbids what a release does, unless ``publish.accept_licenses`` has it."""
    accepted = [*map(plain, config.publish.accept_licenses)]
    broken = {plain(name): (key, name) for key, name in reversed([*_stated(config)]) if forbidden(name)}
    missing = sorted(broken.keys() - {*accepted})
    fix = f"publish.accept_licenses=[{','.join([*accepted, *missing])}]"
    return [
        Problem(
            key,
            f"{name} {forbidden(name)}, and a release is a tuned model that others are served with",
            (fix,),
            "choose another if your use is not allowed",
        )
        for key, name in (broken[license_] for license_ in missing)
    ]


def license_cautions(config: Config) -> list[Problem]:
    """Return what comes from elsewhere under a license that nobody stated."""
    cautions = []
    for key, option in _options(config):
        elsewhere = [part.url for part in option.walk() if isinstance(part, Source) and not part.local]
        if elsewhere and is_unknown(option.license) and not _is_mix(option):
            advice = f"read it at {elsewhere[0]}, and state it"
            cautions.append(Problem(key, "unknown, so the model card says so", advice=advice))
    return cautions


def _stated(config: Config) -> Iterator[tuple[str, str]]:
    for key, option in _options(config):
        if option.license is not None and not is_unknown(option.license):
            yield key, option.license


def _options(config: Config) -> Iterator[tuple[str, Model | Data]]:
    """Yield every model and data option with the key of its license."""
    for key, component in named_components(config):
        if isinstance(component, Model | Data):
            yield f"{key}.license", component


def _is_mix(option: Component) -> bool:
    """Return whether other data options below it bring its rows, and their licenses."""
    return any(isinstance(part, Data) and part is not option for part in option.walk())
