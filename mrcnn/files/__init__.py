"""Files and downloads that may be damaged, cut short or hostile."""
