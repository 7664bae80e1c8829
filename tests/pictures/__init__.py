"""Pictures of the page in all its states (`make pictures`), and its parts on one page (`make design`).

The API is the tests' own (`tests/fakes/api.py`), the page and its stylesheets are the real ones.
"""
