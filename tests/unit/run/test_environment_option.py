"""What a recipe may say about its environment, and whose bounds count."""

import pytest

from framework.core.errors import ConfigError, GateError
from framework.core.gates import Bound
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.run.build_release import require_gates
from framework.run.call import called

GIVEN = Release.read(SHARE / "tests" / "golden" / "tiny.lock")
TINY = "defaults: [tiny]\n"


@pytest.mark.parametrize(
    ("environment", "body", "keys"),
    [
        ("dev", "namespace: other", ["namespace"]),
        ("production", "require_api_key: false", ["require_api_key"]),
        ("staging", "preserve_resources: true", ["preserve_resources"]),
        ("staging", "allow_unpinned_image: true", ["allow_unpinned_image"]),
        ("production", "server: 'https://example.com'", ["server"]),
        ("staging", "signers: {identities: [{issuer: 'https://example.com', subject: me}]}", ["signers"]),
        ("dev", "_target_: framework.delivery.environment.Environment", ["_target_"]),
        ("dev", "require_api_key: true, allow_unpinned_image: false", []),
        ("staging", "namespace: gitune-staging, signers: {}", []),
        ("dev", "domain: a.example.com, max_replicas: 3, gates: {exact_match: {min: 0.1}}", []),
    ],
)
def test_recipe_neither_loosens_nor_redirects_its_environment(team, compose, environment, body, keys):
    team("recipes/x.yaml", f"{TINY}environment: {{{body}}}\n")
    if not keys:
        called(compose("+recipe=x", f"environment={environment}"), "run")
        return
    with pytest.raises(ConfigError) as error:
        called(compose("+recipe=x", f"environment={environment}"), "run")
    found = [problem.key.removeprefix("environment.") for problem in error.value.problems]
    assert sorted(found) == keys
    assert all(line.startswith("recipes/x.yaml:2: ") for line in error.value.lines)
    assert f"conf/environment/{environment}.yaml" in str(error.value)


def test_file_of_another_group_with_the_option_s_name_decides_nothing(team, compose):
    team("conf/mine/production.yaml", "# @package environment\nnamespace: other\n")
    team("recipes/x.yaml", "defaults: [tiny, /mine: production]\n")
    with pytest.raises(ConfigError) as error:
        called(compose("+recipe=x", "environment=production"), "run")
    assert [problem.key for problem in error.value.problems] == ["environment.namespace"]
    assert error.value.lines[0].startswith("conf/mine/production.yaml:2: ")


def test_option_and_command_line_decide_about_their_environment(team, compose):
    option = (SHARE / "conf" / "environment" / "dev.yaml").read_text()
    team("conf/environment/dev.yaml", option.replace("gitune-dev", "team-${name}"))
    team("recipes/x.yaml", f"{TINY}name: x\nenvironment: {{domain: a.example.com}}\n")
    assert called(compose("+recipe=x"), "run").config.environment.namespace == "team-x"
    words = ("+recipe=x", "environment.namespace=mine", "environment.require_api_key=false")
    assert called(compose(*words), "run").config.environment.namespace == "mine"


def test_build_meets_the_bounds_of_the_option_and_of_the_recipe(team, compose):
    option = (SHARE / "conf" / "environment" / "staging.yaml").read_text()
    team("conf/environment/staging.yaml", option.replace("gates: {}", "gates: {exact_match: {min: 0.7}}"))
    team("recipes/x.yaml", f"{TINY}environment: {{gates: {{exact_match: {{min: 0.1}}}}}}\n")
    call = called(compose("+recipe=x", "environment=staging"), "run")
    assert call.config.environment.gates == {"exact_match": Bound(min=0.1)}
    measured = GIVEN.model_copy(update={"candidate": "tuned", "metrics": {"tuned.exact_match": 0.5}})
    with pytest.raises(GateError, match="exact_match"):
        require_gates(call, measured)
    require_gates(call, measured.model_copy(update={"metrics": {"tuned.exact_match": 0.8}}))
