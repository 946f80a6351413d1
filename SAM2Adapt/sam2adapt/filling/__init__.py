"""Fill a volume from a few drawn slices: carry drawings to their neighbours, weigh them with what the image shows."""
