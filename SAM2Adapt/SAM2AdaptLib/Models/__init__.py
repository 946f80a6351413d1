"""The models known on this computer."""
