"""What every layer stands on: components, steps, the store, releases and the error tree."""
