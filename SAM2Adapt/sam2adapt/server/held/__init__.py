"""What this computer holds for engines that other computers use: files by hash, trainings, and places for engines."""
