"""Who is in the mesh, in which state, and which of them a target means: pure."""
