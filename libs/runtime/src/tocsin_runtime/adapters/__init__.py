"""Kafka behind the ports: engines, publisher, reader."""
