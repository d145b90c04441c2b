"""The command line: nothing but Hydra is imported until a config is composed."""
