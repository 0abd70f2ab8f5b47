"""The data sets: one row each in `catalog`, their labels in `vocabularies`, from disk to parquet by `prepare`."""
