"""The lines of the claims' registry, one module a theme; nothing but data."""
