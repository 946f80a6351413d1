"""SAM2's image path for any image size, with K-class prompt-free decoding."""
