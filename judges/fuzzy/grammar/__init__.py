"""What an answer does with the labels that it names: asserts, denies, uses in another sense, or tells the judge."""
