"""Measurements of Stayhand, each against the same work without Stayhand, in the same run: `python -m bench NAME`."""
