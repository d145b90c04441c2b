"""Claims about speed, each a ratio within one run; ``python -m benchmarks`` lists and runs them."""
