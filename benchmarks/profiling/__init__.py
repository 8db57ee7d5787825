"""Where a cell's time goes, and how far that is from what the arithmetic needs: python -m benchmarks.profiling."""
