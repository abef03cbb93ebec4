"""What is needed to run it: the lab, the units, the runbook."""
