"""What the collector makes of a request: no I/O, no clock."""
