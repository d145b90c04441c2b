"""Reports on finished recipes: one HTML page, and Markdown for a pull request.

A report reads finished artifacts and never builds any. It contains no time, host name or absolute path, so
the same artifacts produce the same bytes.
"""
