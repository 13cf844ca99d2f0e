"""The exercises, a file a topic."""
