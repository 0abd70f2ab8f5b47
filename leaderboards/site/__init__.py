"""A leaderboard as a static site: for each family of tasks a sortable table of the user's runs and published results.

Start with `build.build_site`. From data to page: `families` sorts tasks, `rows` makes a row of each published model,
`table` puts them below the user's own, `templates/` says how it looks. No server is needed: the folder opens from disk
and any web server can host it.
"""
