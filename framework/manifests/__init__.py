"""Kubernetes objects as plain dicts: what every target, rollout and monitor builds on."""
