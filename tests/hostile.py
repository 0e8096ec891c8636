"""Text that a model might write to harm who reads it: every output is tried with all of it."""

from __future__ import annotations

from typing import Final

HOSTILE: Final[dict[str, str]] = {
    "c0": "a\x00b\x07c\x08d\x0be\x0cf\x7fg",
    "carriage return": "100% done\rrm -rf",
    "ansi": "\x1b[31mred\x1b[0m \x1b[2J\x1b[H gone",
    "osc": "\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "c1": "a\x85b\x9b31mc\x90d\x9c",
    "bidi override": "user\u202e txet desrever \u202c",
    "bidi isolate": "a\u2066b\u2069 \u200e\u200f\u061c",
    "newlines": "one\ntwo\r\nthree\u2028four\u2029five",
    "log line": "done\nERROR:root:forged line",
    "markup": "[red]not red[/red] [link=http://evil.example]x[/link] [/] [bold",
    "html": "</text><script>alert(1)</script><a href='javascript:alert(1)'>x</a>&amp;\"'",
    "svg": '"/><image href="http://evil.example/x.png" onload="alert(1)"/><![CDATA[ ]]>',
    "mermaid": 'x"]; click A href "http://evil.example" %%{init: {"theme":"dark"}}%% end\n---',
    "mermaid directive": "%%{init: {'securityLevel':'loose'}}%%",
    "percent": "%s %d %(name)s {0} {name} %",
    "surrogate": "lone \ud800 and \udfff",
    "noncharacter": "a\ufffeb\uffffc",
    "wide": "日本語のテキスト 👩‍👩‍👧‍👦 e\u0301 ﷽",
    "zero width": "a\u200bb\u2060c\ufeff",
    "joiners": "\u200d\u200d👩👩 a\u200d \u200d日本\n\u200d\u200d\u200d👩 \ufe0f\ufe0f☂",
    "empty": "",
    "long": "x" * 5_000,
}
"""Texts by what they try."""

CONTROLS: Final = frozenset(
    [chr(n) for n in range(0x20) if chr(n) not in "\n\t"]
    + [chr(n) for n in range(0x7F, 0xA0)]
    + list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
"""What no output may hold, but for the controls that the output itself is made of."""
