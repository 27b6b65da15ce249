"""All that a report says, as values: no numpy, no names of ours, nothing that JSON does not have."""
