"""Training of adapters from volumes and label maps."""
