"""Incoming webhooks of chat systems: Slack, Mattermost, Rocket.Chat and others that take ``{"text": …}``.

Format: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and, for the three characters that
must be escaped, https://docs.slack.dev/messaging/formatting-message-text.
"""

import json
import re

from edgewright.core.status.notifications import Notification
from edgewright.notifications.poster import Poster
from edgewright.notifications.wording import details, subject

_MARKS = {"error": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_green_circle:"}
_MENTION = re.compile(r"@(?=\w)")
_LINK = re.compile(r"(?<=:)(?=//)|(?<=\])(?=\()|(?<=[A-Za-z0-9])(?=\.[A-Za-z]{2})|(?<=mailto)(?=:)", re.IGNORECASE)
"""Where an address or a Markdown link is taken apart: chats make links of ``https://…`` and of ``example.com``."""
_ZERO_WIDTH = "\u200b"
_NO_PREVIEWS = {"unfurl_links": False, "unfurl_media": False}
"""Of Slack; others leave it alone."""


class ChatNotifier:
    """Implements ports.Notifier."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    def send(self, notification: Notification) -> None:
        """Post one message; may be repeated.

        Raises:
            NotificationUnavailable, NotificationError: As Poster.post.
        """
        lines = [
            f"{_MARKS[notification.severity]} *{escape(subject(notification))}*",
            *map(escape, details(notification)),
        ]
        body = json.dumps({"text": "\n".join(lines), **_NO_PREVIEWS}, ensure_ascii=False).encode(errors="replace")
        self._poster.post(body, dict)


def escape(text: str) -> str:
    """Make text mean only itself: no links, no mentions of everybody, also where ``@`` alone makes one."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINK.sub(_ZERO_WIDTH, _MENTION.sub(f"@{_ZERO_WIDTH}", text))
