"""Steps, estimates and rules of a config; pure."""
