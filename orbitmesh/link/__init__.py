"""What happens on one link between two nodes: pure protocol, no sockets, no clock."""
