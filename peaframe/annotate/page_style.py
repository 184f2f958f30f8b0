"""What the pages of all reports look like; each has more of its own. No fonts, pictures or scripts from elsewhere."""

from __future__ import annotations

__all__ = ["PAGE"]

PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums lining-nums}
main{max-width:1080px;margin:0 auto;padding:44px 28px 72px}
h1,h2,.value{font-family:Charter,"Bitstream Charter","Iowan Old Style",Cambria,"Liberation Serif",Georgia,serif;
font-weight:600;letter-spacing:-.005em}
h1{font-size:31px;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
p{margin:6px 0 14px;max-width:74ch;overflow-wrap:anywhere}
a{color:var(--blue)}
.soft,small,figcaption{color:var(--soft)}
small,figcaption{font-size:13px;line-height:1.45}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 22px;margin:12px 0}
dl.facts{display:flex;flex-wrap:wrap;gap:10px 32px;margin:20px 0 0}
dt{color:var(--soft);overflow-wrap:anywhere}
dd{margin:0;overflow-wrap:anywhere}
.facts dt{font-size:13px}
.scroll{overflow-x:auto;margin:12px 0 6px;-webkit-overflow-scrolling:touch}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14px;line-height:1.4}
th,td{padding:6px 10px;text-align:left;vertical-align:middle;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom;color:var(--soft);font-weight:500;font-size:13px;
border-bottom:1px solid var(--soft);white-space:nowrap}
tbody th{font-weight:500}
td.n,th.n{text-align:right;white-space:nowrap}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:2px}
.tall{max-height:min(78vh,760px);overflow:auto}
.tall thead th{position:sticky;top:0;z-index:1;background:var(--paper)}
thead button{all:unset;cursor:pointer;white-space:nowrap}
thead button::after{content:"\\2195";display:inline-block;width:1.1em;text-align:right;opacity:.4}
[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
[aria-sort=descending] button::after{content:"\\2193";opacity:1}
summary{cursor:pointer;color:var(--soft)}
footer{margin-top:56px;padding-top:14px;border-top:1px solid var(--rule);color:var(--soft);font-size:13px}
"""
