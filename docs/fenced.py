"""For mkdocstrings: what Markdown would take for something else in a docstring.

The examples become fenced blocks; each `*` of a setting's words, which the command line shows as they are, is escaped.
"""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*(?:\n\n>>> .*(?:\n.+)*)*", re.MULTILINE)


class Examples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring and obj.is_attribute:
            obj.docstring.value = obj.docstring.value.replace("*", r"\*")
        elif obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
