"""What finds plugins, loads them, and reports the broken ones."""
