"""The risk models and the policy engine: pure functions over a small, bounded state, without I/O, clock or chance."""
