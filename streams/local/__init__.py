"""A gate of one's own on a broker, for replays, the demo, the bench and tests: ground, scorers, a clean end."""
