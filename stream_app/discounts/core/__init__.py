"""Deciding, measuring and learning, pure: no I/O, no clock, no randomness but hashes of ids."""
