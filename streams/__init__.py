"""The stream processor: the scorer and its state, what operators run, and replay of recorded logs."""
