"""The figures as a page: what is said in words, tables and plots. Nothing is worked out here but percentages."""
