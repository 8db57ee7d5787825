"""Hostile input for everything that reads what a stranger wrote."""
