"""Work beside requests: leased work, jobs with progress, and duties."""
