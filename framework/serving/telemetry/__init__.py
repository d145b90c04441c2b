"""What the server tells about itself: metrics, and the judgment of its answers."""
