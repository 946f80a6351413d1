"""What computes: device, memory, and the processes that work together."""
