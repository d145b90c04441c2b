"""Compose one config without Hydra's application: no files are written, and there are no sweeps or flags.

``hydra.main`` composes twice, first to see whether this is a sweep. Pydantic is not imported here.
"""

from collections.abc import Sequence

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from framework.config.composition import as_addition, composition_error
from framework.config.recipes import register
from framework.core.errors import FrameworkError
from framework.core.paths import SHARE


def composed(words: Sequence[str]) -> DictConfig:
    """Return the config of the typed *words*; Hydra's globals describe it afterwards.

    Raises:
        ConfigError: the words, or the files that they choose, cannot be composed.
        FrameworkError: a file cannot be read.
    """
    register()
    GlobalHydra.instance().clear()
    try:
        initialize_config_dir(str(SHARE / "conf"), version_base="1.3", job_name="gitune")
        config = compose("config", [as_addition(word) for word in words], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise composition_error(error, words) from None
    except OSError as error:
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config
