"""The probe behind `rerank doctor`: what a service does with a handful of tiny requests."""
