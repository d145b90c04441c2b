"""Background work: requests that are accepted now and answered later.

Everything that must not be lost is a row of one table: ``table`` has the rules of who writes it.
``in_process`` runs jobs in the server, ``celery_queue`` hands their ids to workers by a broker; either can
lose what it has, since ``sweeper`` hands over again what the table still has. ``runner`` answers one job by
a request to the server's own API.
"""
