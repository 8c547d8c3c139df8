"""Keys, certificates and trust: who is who, and how that is proven."""
