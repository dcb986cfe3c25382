"""One page that shows what a run did, what limited it, what it cost, and whether it helped."""
