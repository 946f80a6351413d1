"""Images and labels: what a file says is what is read, or it is refused with a sentence."""
