"""Composing configs that are wrong."""

import pytest

from framework.config.load import load
from framework.core.errors import ConfigError


@pytest.fixture
def rejected(compose):
    """The error for words and files that cannot be composed, or are wrong."""

    def call(*words: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(compose(*words))
        assert len(caught.value.problems) == len(caught.value.lines)
        return caught.value

    return call
