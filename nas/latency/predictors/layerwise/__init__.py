"""A network takes the sum of its layers: some measured alone, the others by regression, calibrated on whole networks."""
