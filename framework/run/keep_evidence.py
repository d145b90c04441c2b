"""Keep a release's evidence beside its model: where its materials and its origin are both known."""

import os

from framework.core import evidence as kept
from framework.core.release import Release
from framework.report.materials import Materials


def keep_evidence(release: Release, materials: Materials) -> str:
    """Write the evidence of *release* that its model store does not have, and return its address.

    Evidence that is there stays: the builder that released first is the one that it names.

    Args:
        release: as its lock states it.
        materials: read before it was built, since files may change during a training.

    Raises:
        SourceError: the model store cannot be read or written.
    """
    folder = kept.address(release)
    if {*kept.FILES} <= {*kept.names(folder)}:
        return folder
    from framework.report.evidence import evidence  # a finished release need not import it again

    kept.keep(folder, evidence(release, materials, _workflow()))
    return folder


def _workflow() -> str | None:
    """Return the URI of the GitHub workflow that this process runs in, as SLSA's builders write it."""
    server, workflow = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_WORKFLOW_REF")
    return f"{server}/{workflow}" if server and workflow else None
