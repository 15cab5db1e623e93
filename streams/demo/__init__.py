"""A small simulated fleet that works through the gate, and the theft of one of its tokens."""
