"""Envelopes, their encoding, their limits and their versions: what peers say to each other, byte by byte."""
