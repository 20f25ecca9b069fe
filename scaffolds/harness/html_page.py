# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""One HTML page that runs nothing and fetches nothing: the look that reports/data.html and reports/report.html share.

What comes from elsewhere (a dataset's words, a path, an error) goes through `text`, which leaves no markup in it.
"""

import base64
import html

INK, GRAY, BLUE, RED = "#1b1f24", "#6b7280", "#2563eb", "#b45309"

STYLE = f"""
:root {{ color-scheme: light dark; --ink: {INK}; --gray: {GRAY}; --blue: {BLUE}; --red: {RED} }}
:root {{ --line: #e5e7eb; --soft: #f3f4f6; --page: #ffffff }}
@media (prefers-color-scheme: dark) {{
:root {{ --ink: #e6e8eb; --gray: #9aa3af; --blue: #7aa7ff; --red: #f0a35e; --line: #30363d; --soft: #1c2128 }}
:root {{ --page: #0f1216 }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page) }}
body {{ max-width: 860px; margin: 2.5rem auto; padding: 0 1.2rem }}
h1 {{ font-size: 1.5rem; overflow-wrap: anywhere }}
h2 {{ font-size: 1.1rem; margin-top: 2.2rem }}
.big {{ font-size: 2.3rem; font-weight: 600; color: var(--blue); margin: .6rem 0 0 }}
.small {{ color: var(--gray); margin: 0 0 1rem }}
table {{ border-collapse: collapse; margin: .6rem 0; font-size: .9rem }}
td, th {{ text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line) }}
td, th {{ overflow-wrap: anywhere; vertical-align: top }}
td:first-child {{ color: var(--gray); min-width: 9rem }}
img {{ max-width: 100%; background: #ffffff }}
.pair img {{ width: 100% }}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; margin: 1rem 0; align-items: start }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft) }}
pre {{ padding: .7rem; margin: 0; font-size: .85rem }}
a {{ color: var(--blue); overflow-wrap: anywhere }}
@media print {{ h2 {{ break-after: avoid }} .pair {{ break-inside: avoid }} }}
"""


def text(value):
    return html.escape(str(value))


def whole(title, parts, style=STYLE):
    """The page, of parts that are HTML already."""
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f"<title>{text(title)}</title>\n<style>{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def cells(values, tag="td"):
    return "<tr>" + "".join(f"<{tag}>{text(value)}</{tag}>" for value in values) + "</tr>"


def table(head, rows):
    """rows of cells, below a row of titles where there are any."""
    return "<table>" + (cells(head, "th") if head else "") + "".join(cells(row) for row in rows) + "</table>"


def bullets(sentences):
    return "<ul>" + "".join(f"<li>{text(one)}</li>" for one in sentences) + "</ul>"


def picture(content, kind, alternative):
    """An image, in the page itself. content: the bytes of its file."""
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{text(alternative)}" src="data:image/{kind};base64,{encoded}">'
