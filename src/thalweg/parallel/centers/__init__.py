"""Where the centre lives: in this process, in a file of one host, or on a Ray cluster."""
