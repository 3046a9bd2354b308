"""Denoisers and classifiers: how they are built, loaded and trained."""
