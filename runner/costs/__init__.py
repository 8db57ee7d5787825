"""What a cell will need before it is run: memory and time, computed from the model's shape and the method's work."""
