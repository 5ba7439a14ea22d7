"""Models of tables with numbers, classes and missing entries."""
