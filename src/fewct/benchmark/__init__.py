"""Every method on the same slices, once: rows, intervals by patient, pictures and a report."""
