"""One file per question; loaded, bound, never formatted."""
