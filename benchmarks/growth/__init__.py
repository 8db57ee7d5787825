"""What an edit costs, and how much is kept, as thousands of edits accumulate in one model."""
