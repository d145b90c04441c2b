"""The judge of the golden tests rejects what an API server rejects."""

import copy

import pytest
import yaml
from kubernetes_judge import problems_of

from framework.core.paths import SHARE

GOLDEN = SHARE / "tests" / "golden" / "environments"


def manifest(kind):
    file = next(path for path in sorted(GOLDEN.rglob("*.yaml")) if path.name.startswith(f"{kind}-"))
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("kind", ["deployment", "service", "rollout", "analysistemplate"])
def test_golden_object_passes_and_unknown_field_is_refused(kind):
    item = manifest(kind)
    assert problems_of(item) == []
    item["spec"]["bogus"] = 1
    assert problems_of(item) != []


def test_cel_rule_of_a_custom_kind_is_evaluated():
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "a"},
        "spec": {"rules": [{"matches": [{"path": {"type": "Exact", "value": "/a"}}]}]},
    }
    assert problems_of(route) == []
    broken = copy.deepcopy(route)
    broken["spec"]["rules"][0]["matches"][0]["path"]["value"] = "a"
    assert any("absolute path" in problem for problem in problems_of(broken))


def test_kind_without_schema_is_a_problem():
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
    assert problems_of(unknown) == ["no schema for example.com/v1 Thing"]
    assert problems_of({"kind": "Service"}) == ["apiVersion is missing", "metadata is missing"]
