"""The parts that come with OrbitMesh, registered through the same hooks as anybody's plugin."""
