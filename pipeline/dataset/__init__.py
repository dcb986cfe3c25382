"""The composition: a whole run or plan, from source to output."""
