"""A leaderboard as a static site: the user's runs and the published results in one sortable table.

Start with `build.build_site`. No server is needed: the folder opens from disk and any web server can host it.
"""
