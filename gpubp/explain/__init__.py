"""Every number of a step beside its formula."""
