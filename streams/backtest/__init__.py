"""Backtest: recorded decisions made again by another policy pack, and what would have changed."""
