"""Kubernetes objects as plain dicts, and the client of the API server; shared by delivery and launchers."""
