"""The foundation of every layer: components, steps, the store, releases and the error tree."""
