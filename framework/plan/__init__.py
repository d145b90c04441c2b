"""The steps, estimates and rules of a config; pure."""
