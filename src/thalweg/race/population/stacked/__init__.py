"""The stacked engine: every leaf module of the user's model for K members at once."""
