"""What keeps users safe: files that only they can read, and texts that cannot pretend to be others."""
