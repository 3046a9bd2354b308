"""The smoothed classifier's votes: drawn, counted, kept."""
