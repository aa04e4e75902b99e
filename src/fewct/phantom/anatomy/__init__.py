"""The anatomy of the phantom: trunk, organs, bones, vessels."""
