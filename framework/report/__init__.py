"""The report: one page, and a text for a pull request, on what recipes made.

It reads finished artifacts and never makes any. Neither page nor text holds a time, a host's name or an
absolute path, so that the same artifacts give the same bytes.
"""
