"""Kafka behind the worker's seam ``ports.Log``."""

from streams.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
