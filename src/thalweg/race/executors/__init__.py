"""Where the members of a race are trained: in this process, or spread over worker processes."""
