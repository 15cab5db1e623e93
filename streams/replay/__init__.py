"""Replays old audit logs through Kafka and the scorer, as if each action were still pending."""
