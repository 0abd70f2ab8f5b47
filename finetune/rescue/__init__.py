"""From a model that forgot to one that did not, without training: merges with its base, searched on few documents.

`merges` puts a merge into one loaded model, `search` decides which merges are worth more documents. The command,
`emt rescue`, evaluates them and puts the one that is chosen through the gate, on documents that the search never saw.
"""
