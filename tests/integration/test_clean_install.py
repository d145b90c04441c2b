"""Without any extra: planning, rendering and Git's verbs work, and building is refused with the command."""

import json
import subprocess
import sys

import clean_install
import pytest

from framework.core.paths import SHARE
from framework.core.release import LOCK

pytestmark = pytest.mark.e2e

COMMANDS = """
import contextlib, io, json, os, sys
from framework.cli.main import main
answers = []
for folder, *words in json.load(sys.stdin):
    os.chdir(folder)
    sys.argv = ["run", *words]
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


@pytest.fixture
def answers(environ, tmp_path):
    """Run commands, each a folder and words, in one process; return exit code, output and errors of each."""

    def call(*commands):
        site = tmp_path / "site"
        site.mkdir()
        done = subprocess.run(
            [sys.executable, "-P", "-c", COMMANDS],
            input=json.dumps([[str(folder), *words] for folder, *words in commands]),
            env=clean_install.environment(environ, site),
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def sections(text: str) -> dict[str, str]:
    """Return the screen of each recipe."""
    parts = text.split("== recipe=")[1:]
    return {part.partition(" ==")[0]: part for part in parts}


def test_every_built_in_recipe_is_planned_and_none_of_them_built(answers, tmp_path):
    recipe = "compression/sentiment-openvino"
    (planned, every, two, one, none, schema, built, reported) = answers(
        (tmp_path, "plan", "recipe=glob(**)"),
        (tmp_path, "extras", "recipe=glob(**)"),
        (tmp_path, "extras", f"+recipe={recipe},methods/sentiment-qlora"),
        (tmp_path, "extras", f"+recipe={recipe}", "tracking=mlflow"),
        (tmp_path, "extras", "+recipe=quickstart"),
        (tmp_path, "schema"),  # imports every option
        (tmp_path, f"+recipe={recipe}"),
        (tmp_path, "report", f"+recipe={recipe}"),
    )
    assert planned[0] == 0, planned[2]
    plans = sections(planned[1])
    names = {
        file.relative_to(SHARE / "recipes").with_suffix("").as_posix()
        for file in (SHARE / "recipes").rglob("*.yaml")
        if "\nrecipes:" not in file.read_text()
    }
    assert set(plans) == names
    assert "gitune[openvino]" in plans[recipe]
    assert "building needs" not in plans["quickstart"]

    warned = {extra for extra in every[1].strip().split(",") if f"gitune[{extra}]" in planned[1]}
    assert every == [0, f"{','.join(sorted(warned))}\n", ""]
    assert "openvino" in warned
    assert two == [0, "openvino,qlora\n", ""]
    assert one == [0, "openvino,track\n", ""]
    assert none == [0, "\n", ""]
    assert schema[0] == 0, schema[2]

    for code, _, errors in (built, reported):
        assert code == 2
        assert "pip install 'gitune[openvino]'" in errors
    assert not (tmp_path / ".gitune" / "store").exists()


def test_monitored_release_goes_through_every_verb(answers, gitops, clone, remote):
    recipe = clone / "recipes" / "served.yaml"
    text = recipe.read_text().replace("defaults:\n", "defaults:\n  - override /monitoring: prometheus\n")
    # Building needs extras that rendering does not.
    recipe.write_text(text.replace("/tuning: full", "/tuning: qlora"))
    for digit in "ab":
        gitops.put(clone, gitops.release("one", digit))
    gitops.git(clone, "push", "-q", "origin", "main")

    rolled, promoted, rendered, status, planned, built = answers(
        (clone, "rollback", "release=one", "environment=dev"),
        (clone, "promote", "release=one", "from=dev", "to=staging", "push=direct"),
        (clone, "render", "+recipe=served", "environment=staging"),
        (clone, "status", "check=true", "environment=staging"),
        (clone, "plan", "recipe=glob(**)"),
        (clone, "+recipe=served"),
    )
    for code, _, errors in (rolled, promoted, rendered, status, planned):
        assert code == 0, errors
    assert gitops.lock(remote, "main", "dev") == gitops.release("one", "a")
    assert gitops.lock(remote, "main", "staging") == gitops.release("one", "a")
    folder = clone / "environments" / "staging" / "one"
    assert (folder / LOCK).is_file()
    assert (folder / "prometheusrule-one.yaml").is_file()
    assert "title" in (folder / "configmap-one-dashboards.yaml").read_text()
    assert "nothing changed" in rendered[1]
    # A team's repository plans its own recipes only.
    assert set(sections(planned[1])) == {"served"}
    assert "gitune[qlora]" in planned[1]
    assert built[0] == 2
    assert "pip install 'gitune[qlora]'" in built[2]
