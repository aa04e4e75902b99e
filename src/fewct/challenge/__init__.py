"""The ENS x Raidium data challenge: its label tables, its images, its score and its submissions."""
