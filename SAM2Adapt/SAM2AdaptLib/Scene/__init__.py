"""Between MRML nodes and arrays; needs no Qt."""
