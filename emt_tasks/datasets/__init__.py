"""The data sets: one row each in `catalog`, their labels in `vocabularies`, built as parquet by `prepare`."""
