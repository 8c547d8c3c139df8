"""The commands, a module each; none is imported unless it is used."""
