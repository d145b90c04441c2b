"""The delivery half: turns a release into manifests. It does not know the build half."""
