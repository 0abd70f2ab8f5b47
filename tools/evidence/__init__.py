"""The papers' claims, one by one, on a small real model: runs, statements with intervals, and the page that says so."""
