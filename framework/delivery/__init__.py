"""The delivery half: what turns a release into manifests. Knows nothing of build."""
