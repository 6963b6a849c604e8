"""How do networks compute? Small exact functions, each with its closed form.

Importing this package loads nothing heavy; import what you need from its modules.
"""
