"""The build half: what turns a config into a published release. Knows nothing of delivery."""
