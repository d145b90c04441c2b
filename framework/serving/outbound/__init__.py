"""Calls to other services, such as Redis, a broker, a webhook or another model.

Only these have a breaker and retries: what one server does itself either works or is answered with an error.
``Destination`` is one service; a failed call ends in ``Unreachable``.
"""
