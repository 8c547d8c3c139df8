"""A mesh in memory, faults and virtual time for tests of users and of OrbitMesh itself."""
