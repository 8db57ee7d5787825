"""Editing, asking and whole jobs, here and with EasyEdit, side by side: python -m benchmarks.speed."""
