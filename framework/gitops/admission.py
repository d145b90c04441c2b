"""The signers of an environment and the policies of its namespace, as objects that are applied once.

The same rules are a ValidatingAdmissionPolicy of Kubernetes (1.30 or later) and a ValidatingPolicy of Kyverno
(1.17 or later), which can also check the signatures of our images.
"""

import json
import re

from framework.delivery.deployment.approved_pod import SIGNERS, SIGNERS_FILE
from framework.delivery.environment import Environment
from framework.gitops.admission_rules import Policy, policies
from framework.gitops.setup_object import Object, setup_object

ENGINES = ("policy", "kyverno", "both", "none")
"""What evaluates the rules: Kubernetes itself, Kyverno, both, or nothing."""
_KUBERNETES = "admissionregistration.k8s.io/v1"
_KYVERNO = "policies.kyverno.io/v1"
_GITHUB = re.compile(r"(?:https://|git@|ssh://git@)github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
_WORKFLOW = ".github/workflows/image.yaml"
"""The workflow that builds and signs our images."""
_NOT_PODS: Object = {
    "autogen": {"podControllers": {"controllers": []}},
    "evaluation": {"background": {"enabled": False}},
}
"""Kyverno would also apply a rule about pods to what makes them, and to what is in the cluster already."""


def admission(environment: Environment, engine: str, argocd: str, repo: str, branch: str) -> list[Object]:
    """Return the signers of *environment* and the policies of its namespace; nothing if it names no signers.

    Args:
        environment: the environment.
        engine: one of ``ENGINES``.
        argocd: the namespace of Argo CD.
        repo: the URL of this repository, whose workflow signs our images.
        branch: the branch that the workflow runs on.
    """
    if not environment.signers:
        return []
    text = json.dumps(environment.signers.dump(), indent=2, sort_keys=True) + "\n"
    objects = [setup_object("v1", "ConfigMap", SIGNERS, environment.namespace, data={SIGNERS_FILE: text})]
    for policy in policies(environment, argocd):
        if engine in ("policy", "both"):
            objects += _kubernetes(policy, environment)
        if engine in ("kyverno", "both"):
            objects.append(_kyverno(policy, environment))
    if engine in ("kyverno", "both") and (signed := _GITHUB.fullmatch(repo)) is not None:
        objects.append(_images(environment, signed[1], signed[2], branch))
    return objects


def _kubernetes(policy: Policy, environment: Environment) -> list[Object]:
    name = f"gitune-{environment.name}-{policy.name}"
    binding = {"matchResources": _selector(environment), "policyName": name, "validationActions": ["Deny"]}
    return [
        setup_object(_KUBERNETES, "ValidatingAdmissionPolicy", name, spec=policy.spec()),
        setup_object(_KUBERNETES, "ValidatingAdmissionPolicyBinding", name, spec=binding),
    ]


def _kyverno(policy: Policy, environment: Environment) -> Object:
    """Return a policy of Kyverno, which has no bindings."""
    spec = policy.spec()
    spec["matchConstraints"] |= _selector(environment)
    spec |= {**_NOT_PODS, "validationActions": ["Deny"]}
    return setup_object(_KYVERNO, "ValidatingPolicy", f"gitune-{environment.name}-{policy.name}", spec=spec)


def _images(environment: Environment, owner: str, repository: str, branch: str) -> Object:
    """Return the policy of Kyverno that our images are signed by this repository's workflow."""
    folder = f"ghcr.io/{owner}/{repository}/".lower()
    subject = f"https://github.com/{owner}/{repository}/{_WORKFLOW}@refs/heads/{branch}"
    identity = {"issuer": "https://token.actions.githubusercontent.com", "subject": subject}
    pinned = not environment.allow_unpinned_image
    containers = (
        "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : []))"
    )
    spec = {
        **_NOT_PODS,
        "attestors": [
            {
                "cosign": {
                    "ctlog": {"url": "https://rekor.sigstore.dev"},
                    "keyless": {"identities": [identity]},
                },
                "name": "workflow",
            }
        ],
        "failurePolicy": "Fail",
        "images": [
            {
                "expression": f"{containers}.map(c, c.image).filter(i, i.startsWith('{folder}'))",
                "name": "ours",
            }
        ],
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["pods"],
                }
            ],
            **_selector(environment),
        },
        "matchImageReferences": [{"glob": f"{folder}*"}],
        "validationActions": ["Deny"],
        "validationConfigurations": {"mutateDigest": False, "required": True, "verifyDigest": pinned},
        "validations": [
            {
                "expression": "images.ours.map(i, verifyImageSignatures(i, [attestors.workflow]))"
                ".all(count, count > 0)",
                "message": f"images below {folder} must be signed by {subject}",
            }
        ],
    }
    return setup_object(_KYVERNO, "ImageValidatingPolicy", f"gitune-{environment.name}-images", spec=spec)


def _selector(environment: Environment) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": environment.namespace}}}
