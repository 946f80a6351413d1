"""From a volume to its labels."""
