"""From votes to certificates: bounds, sampling plans, accuracies."""
