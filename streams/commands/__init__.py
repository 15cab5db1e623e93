"""What operators run: short-lived commands over the same topics and documents as the scorer's."""
