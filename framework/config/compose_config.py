"""One config, composed by Hydra without its application: nothing is written, no sweep, no flags.

``hydra.main`` composes twice, to see first whether this is a sweep. Pydantic is not imported here.
"""

from collections.abc import Sequence

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from framework.config.composition import as_addition, problem
from framework.config.recipes import register
from framework.core.errors import ConfigError, FrameworkError
from framework.core.paths import SHARE


def composed(words: Sequence[str]) -> DictConfig:
    """Return the config of what is typed as *words*; Hydra's globals tell of it afterwards.

    Raises:
        ConfigError: the words, or the files that they choose, make no config.
        FrameworkError: a file cannot be read.
    """
    register()
    GlobalHydra.instance().clear()
    try:
        initialize_config_dir(str(SHARE / "conf"), version_base="1.3", job_name="gitune")
        found = compose("config", [as_addition(word) for word in words], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError(problem(error, words)) from None
    except OSError as error:
        raise FrameworkError(f"{error.filename}: cannot be used: {error.strerror}") from None
    HydraConfig.instance().set_config(found)
    with open_dict(found):
        del found["hydra"]
    return found
