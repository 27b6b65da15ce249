"""Kafka and Redis behind narrow protocols, their memory twins, and embedded servers."""
