"""Pictures of the page in all its states (`make pictures`), and its parts on one page (`make design`).

`python -m tests.pictures.demo` makes the moving picture of the READMEs, with the real service.

In all others the API is the tests' own (`tests/fakes/api.py`); the page and its stylesheets are real.
"""
