"""Many studies with one model."""
