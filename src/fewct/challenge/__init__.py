"""The ENS x Raidium data challenge: its label tables, its images, its score and its submissions.

Import what you need from the modules; reading and writing tables needs the extra `challenge`.
"""
