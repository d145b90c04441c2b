"""Compose one config without Hydra's application: no files are written, and there are no sweeps or flags.

Pydantic is not imported here.
"""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

from framework.config.command_line_choices import Words
from framework.config.composer import compose_plain
from framework.config.composition import Composition
from framework.config.composition_errors import NOT_COMPOSED, as_addition, composition_error
from framework.config.merge_order import NotPlainError
from framework.config.options import SEARCHPATH, searchpath
from framework.config.recipes import register
from framework.core.errors import ConfigError, FrameworkError
from framework.core.paths import SHARE


def composed(words: Sequence[str]) -> Composition:
    """Return the config of the typed *words*.

    Raises:
        ConfigError: the words, or the files that they choose, cannot be composed.
        FrameworkError: a file cannot be read.
    """
    checked = Words.check(words, sweeps=False)
    if not checked.faults:
        return _composed(words)
    try:
        config = _composed(checked.usable)
    except ConfigError as error:
        raise checked.raised(error) from None
    from framework.config.load import load  # brings pydantic, and every option

    load(config, checked.faults)
    raise checked.raised()


def sweep_jobs(words: Sequence[str]) -> list[list[str]]:
    """Return the words of each job of a sweep by Hydra's own sweeper.

    Raises:
        ConfigError: the words cannot be parsed.
    """
    _start()
    try:
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*map(as_addition, words)]), None)
    except NOT_COMPOSED as error:
        raise composition_error(error, words) from None
    return jobs


def _composed(words: Sequence[str]) -> Composition:
    if not searchpath():
        try:
            return compose_plain([*map(as_addition, words)])
        except (NotPlainError, OSError, *NOT_COMPOSED):
            pass  # Hydra composes it, or says what is wrong
    return composed_by_hydra(words)


def composed_by_hydra(words: Sequence[str]) -> Composition:
    """Return the config of the typed *words* as Hydra's own loader composes it.

    Raises:
        ConfigError: the words, or the files that they choose, cannot be composed.
        FrameworkError: a file cannot be read.
    """
    _start()
    overrides = [as_addition(word) for word in words]
    if added := searchpath():
        overrides = [word for word in overrides if not word.lstrip("+").startswith(SEARCHPATH)] + added
    try:
        config = compose("config", overrides, return_hydra_config=True)
    except NOT_COMPOSED as error:
        raise composition_error(error, words) from None
    except OSError as error:
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return Composition.of_hydra(config)


def _start() -> None:
    register()
    GlobalHydra.instance().clear()
    initialize_config_dir(str(SHARE / "conf"), version_base="1.3", job_name="gitune")
