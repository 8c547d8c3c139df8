"""Nodes at work: what ties the pure rooms to transports, loops and people's handlers."""
