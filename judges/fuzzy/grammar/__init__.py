"""What an answer says of the labels that it names: asserted, denied, meant at all, or said to the judge?"""
