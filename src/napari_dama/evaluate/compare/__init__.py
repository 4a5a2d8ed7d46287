"""Methods x folds x label fractions: one experiment file, a resumable run, paired tests, tables and a plot."""
