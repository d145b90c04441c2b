"""ASGI middleware of all routes; it knows HTTP, but neither models nor queues."""
