"""What the looks so far speak for, one function a code."""
