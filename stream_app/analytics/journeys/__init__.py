"""Kinds of journeys: clusters of finished sessions, their most frequent paths, and the steps between them."""
