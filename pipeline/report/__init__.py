"""One page that shows what a run did, what bound it, what it cost, and whether it helped."""
