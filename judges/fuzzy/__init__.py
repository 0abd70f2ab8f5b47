"""The default judge: rules, no model, no network, the same verdict every time. Start with `judge.FuzzyJudge`."""
