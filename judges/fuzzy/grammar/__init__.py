"""How an answer uses the labels that it names: asserted, denied, used in another sense, or addressed to the judge."""
