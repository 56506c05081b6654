"""Background work: leased work, jobs with progress, and duties."""
