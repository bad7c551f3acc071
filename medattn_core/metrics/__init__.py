"""Scores that training and evaluation share: arrays in, numbers out, NumPy and scikit-learn alone."""
