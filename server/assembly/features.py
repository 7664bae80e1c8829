"""All features of a server. The kernel knows none of them."""

from server.feeds.feeds_feature import FEEDS
from server.library.library_feature import LIBRARY
from server.links.links_feature import LINKS
from server.memory.memory_feature import MEMORY
from server.notices.notices_feature import NOTICES
from server.people.people_feature import PEOPLE
from server.subscriptions.subscriptions_feature import SUBSCRIPTIONS
from server.updates.updates_feature import UPDATES

# In this order the features are told that a task has ended.
FEATURES = (PEOPLE, SUBSCRIPTIONS, FEEDS, MEMORY, LIBRARY, NOTICES, UPDATES, LINKS)
