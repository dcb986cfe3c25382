"""One file a layout: how its rows become candidates."""
