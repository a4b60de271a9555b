"""Anchors of headings as GitHub makes them, so that links between pages are right in both places."""
import re


def slug(text, separator):
    return re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', separator)
