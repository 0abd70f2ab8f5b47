"""The report: one HTML file that says what a fine-tuned model forgot, and opens anywhere, offline.

Start with `page.write_report`. From data to page: `flips` and `images` read what the comparison lacks,
`charts` and `traces` turn numbers into positions, `view` puts it together, `templates/` says how it looks.
"""
