"""Plans and previews in words and Markdown. Used by ``server``, which writes comments, and by ``cli``, which prints."""
