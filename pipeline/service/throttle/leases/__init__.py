"""One quota for several processes: the moments of one schedule, leased to who has requests."""
