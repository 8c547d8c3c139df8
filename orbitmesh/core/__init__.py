"""Ids, errors, durations, and the types of clock and settings: what every other room may use."""
