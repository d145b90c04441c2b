"""The verbs that read a server's request log: ``drift`` and ``compare-live``."""
