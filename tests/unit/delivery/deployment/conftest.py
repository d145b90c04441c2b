"""Releases and deliveries of which the targets' tests change one thing each."""

from pathlib import Path

import pytest
import yaml

from framework.core.release import Release
from framework.delivery.deployment import Delivery, Deployment

REPOSITORY = Path(__file__).parents[4]


def option(group, name, **fields):
    path = REPOSITORY / "conf" / group / f"{name}.yaml"
    return Delivery.__dataclass_fields__[group].type.model_validate(yaml.safe_load(path.read_text()) | fields)


@pytest.fixture
def release():
    """Return the golden release with other fields."""
    tiny = Release.read(REPOSITORY / "tests" / "golden" / "tiny.lock")
    return lambda **fields: tiny.model_copy(update=fields)


@pytest.fixture
def deliver():
    """Return what goes to *environment* with the default option of each group that is not given."""

    def build(environment="dev", **parts):
        default = {
            "serving": "litserve",
            "environment": environment,
            "rollout": "rolling",
            "autoscaling": "hpa",
            "traffic": "none",
            "monitoring": "none",
            "secrets": "none",
        }
        return Delivery(**{group: parts.get(group) or option(group, name) for group, name in default.items()})

    return build


@pytest.fixture
def shown():
    """Return the option file's own component."""

    def read(name):
        text = (REPOSITORY / "conf" / "deployment" / f"{name}.yaml").read_text()
        return yaml.safe_load(text), Deployment.model_validate(yaml.safe_load(text))

    return read
