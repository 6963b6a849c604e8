"""Engines that advance a group of members: one after another, or as one batched computation."""
