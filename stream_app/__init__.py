"""A real-time intent scorer for clickstreams: how likely is this session to end in a checkout, after every event."""

__version__ = "0.1.0"
