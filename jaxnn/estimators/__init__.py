"""scikit-learn's face."""
