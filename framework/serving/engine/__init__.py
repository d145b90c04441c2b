"""The model's process: requests wait for it, a supervisor keeps it running, a worker answers."""
