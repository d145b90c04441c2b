"""A team's folder under Git, and rows for it."""

import subprocess

ROWS = '{"prompt": "1", "completion": "odd"}\n' * 40


def git(folder, *words):
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
