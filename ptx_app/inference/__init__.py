"""From a film to a finding: prepare, predict, decide."""
