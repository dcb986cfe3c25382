"""How good an output is: against judgements, or against another output."""
