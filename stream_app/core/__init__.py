"""The pure core: bytes in, effects out. No I/O, no clock, no randomness of its own."""
