"""Many workers for one job: processes of this machine, or actors of a Ray cluster."""
