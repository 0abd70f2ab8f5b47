"""Texts that a page must show and not obey."""

from __future__ import annotations

HOSTILE = {
    "script": "<script>document.title = 'owned'; window.owned = 1</script><img src=x onerror='window.owned = 2'>",
    "closing tags": "</textarea></script></style></bdi><!--<script>alert(1)</script>",
    "null byte": "before\x00after \x1b[31m",
    "separators": "line\u2028paragraph\u2029end",
    "right to left": "\u202eevil \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "templates": "{{ 7 * 7 }} {% raw %} ${1 + 1} &lt;b&gt;",
    "long": "long answer " * 90_000,
}
