"""What happens in the repository of a team whose environments name their signers."""

import contextlib
from pathlib import Path

import yaml

from framework.core.release import LOCK, Release
from framework.gitops.locks import render_arguments
from framework.gitops.remote_compose import ComposeRequest, compose_here
from framework.render import write

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ("dev", "staging", "production")


def accept(clone, environment, *public):
    own = clone / "conf" / "environment" / f"{environment}.yaml"
    bundled = ROOT / "conf" / "environment" / own.name
    option = yaml.safe_load((own if own.exists() else bundled).read_text())
    option["signers"] = {"keys": [key.read_text() for key in public], "identities": []}
    own.write_text(yaml.safe_dump(option))


def release(clone, gitops, keys, digit, **metrics):
    """Bring a new release to dev as CI does: signed, without a pull request."""
    lock = clone / "environments" / "dev" / "one" / LOCK
    lock.write_text(gitops.release("one", digit, **metrics).text())
    done = gitops.verb(clone, "propose", "push=direct", f"key={keys['ci'][0]}")
    assert done.returncode == 0, done.stderr
    gitops.git(clone, "checkout", "-q", ".")
    gitops.git(clone, "pull", "-q")


def promote(clone, gitops, keys, start="dev", end="staging", key="operators"):
    return gitops.verb(
        clone,
        "promote",
        "release=one",
        f"from={start}",
        f"to={end}",
        "push=direct",
        f"key={keys[key][0]}",
    )


def carried(folder):
    """Return the release that the pods of *folder* carry: each keeps its own, whatever comes later."""
    assert not list(folder.glob("configmap-*.yaml"))
    template = yaml.safe_load((folder / "deployment-one.yaml").read_text())["spec"]["template"]
    return Release.parse(template["metadata"]["annotations"][f"files.gitune.dev/{LOCK}"], LOCK)


def render(clone, release, environment):
    with contextlib.chdir(clone):
        answer = compose_here(
            ComposeRequest(render_arguments(release, environment, "environments"), release.text())
        )
        write(answer.checked().files, Path("environments"))


def rewrite(clone, gitops, environment, change):
    """Commit what an attacker makes of a lock: changed, its seal made again, rendered again."""
    path = clone / "environments" / environment / "one" / LOCK
    path.write_text(change(Release.read(path)).text())
    render(clone, Release.read(path), environment)
    gitops.git(clone, "add", "environments")
    gitops.git(clone, "commit", "-q", "-m", "Numbers")
    gitops.git(clone, "push", "-q")
