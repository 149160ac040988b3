"""Print the page."""

from tests.data.bad_inputs import page

print(page(), end="")
