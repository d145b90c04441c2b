"""Releases and deliveries for the deployment targets' tests, which change one value each."""

from pathlib import Path

import pytest
import yaml

from framework.core.release import Release
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.deployment.kubernetes import Kubernetes

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
def remote(release):
    """Return the golden release with a model in a remote store, or at another URI."""
    return lambda uri="s3://bucket/models/abc": release(model_uri=uri)


@pytest.fixture
def environment():
    """Return an environment's option with other fields."""
    return lambda name="dev", **fields: option("environment", name, **fields)


@pytest.fixture
def deliver():
    """Return a delivery to *environment*, with default options for all other groups."""

    def build(environment="dev", **parts):
        default = {
            "serving": "http",
            "environment": environment,
            "rollout": "rolling",
            "autoscaling": "hpa",
            "traffic": "none",
            "monitoring": "none",
            "secrets": "none",
        }
        chosen = {**default, **parts}
        return Delivery(
            **{
                group: option(group, choice) if isinstance(choice, str) else choice
                for group, choice in chosen.items()
            }
        )

    return build


@pytest.fixture
def built(release, deliver):
    """Return a cluster target's objects by kind."""

    def objects(target=None, served=None, **parts):
        items = (target or Kubernetes()).objects(served or release(), deliver(**parts))
        return {item["kind"]: item for item in items}

    return objects


@pytest.fixture
def pod(built):
    """Return the pod's spec of a cluster target's Deployment."""
    return lambda *arguments, **parts: built(*arguments, **parts)["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture
def shown():
    """Return an option file's text and its component."""

    def read(name):
        text = (REPOSITORY / "conf" / "deployment" / f"{name}.yaml").read_text()
        fields = {key: value for key, value in yaml.safe_load(text).items() if key != "defaults"}
        return fields, Deployment.model_validate(fields)

    return read
