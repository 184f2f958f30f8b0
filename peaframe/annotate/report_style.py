"""How the report's page looks and what its one script does. No fonts, pictures or scripts from elsewhere."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

# Blue and orange are Okabe and Ito's (2008), told apart by colour-blind eyes too; the page looks like that of
# an evaluation.
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f7f8f9;--ink:#1c2228;--soft:#5a646e;--rule:#dde1e5;
--blue:#0072b2;--orange:#c65102;--bar:#9cc9e3;--warn:#fdf0e3}
@media (prefers-color-scheme:dark){:root{--paper:#13171a;--card:#1b2024;--ink:#e4e7ea;--soft:#9aa5af;
--rule:#2d343a;--blue:#56b4e9;--orange:#f0a030;--bar:#2c6a8f;--warn:#33260f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums lining-nums}
main{max-width:1080px;margin:0 auto;padding:44px 28px 72px}
h1,h2,.value{font-family:Charter,"Bitstream Charter","Iowan Old Style",Cambria,"Liberation Serif",Georgia,serif;
font-weight:600;letter-spacing:-.005em}
h1{font-size:31px;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:21px;line-height:1.3;margin:52px 0 4px;overflow-wrap:anywhere}
h3{font-size:15px;font-weight:600;margin:0 0 6px}
p{margin:6px 0 14px;max-width:74ch;overflow-wrap:anywhere}
a{color:var(--blue)}
ul.notes{max-width:74ch;padding-left:20px;overflow-wrap:anywhere}
.soft,small,figcaption{color:var(--soft)}
small,figcaption{font-size:13px;line-height:1.45}
.failed{margin:0 0 26px;padding:12px 16px;background:var(--warn);border-left:4px solid var(--orange);
font-weight:600;max-width:none}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 22px;margin:12px 0}
dl.facts{display:flex;flex-wrap:wrap;gap:10px 32px;margin:20px 0 0}
dt{color:var(--soft);overflow-wrap:anywhere}
dd{margin:0;overflow-wrap:anywhere}
.facts dt{font-size:13px}
.scroll{overflow-x:auto;margin:12px 0 6px;-webkit-overflow-scrolling:touch}
.tall{max-height:min(78vh,760px);overflow:auto}
.tall thead th{position:sticky;top:0;z-index:1;background:var(--paper)}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14px;line-height:1.4}
th,td{padding:6px 10px;text-align:left;vertical-align:middle;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom;color:var(--soft);font-weight:500;font-size:13px;
border-bottom:1px solid var(--soft);white-space:nowrap}
tbody th{font-weight:500}
td.n,th.n{text-align:right;white-space:nowrap}
th:first-child,td:first-child{padding-left:0}
th:last-child,td:last-child{padding-right:2px}
.query{display:block;max-width:30ch;min-width:13ch;overflow-wrap:anywhere}
.long{max-width:44ch;min-width:16ch;overflow-wrap:anywhere}
thead button{all:unset;cursor:pointer;white-space:nowrap}
:focus-visible{outline:2px solid var(--blue);outline-offset:2px}
thead button::after{content:"\\2195";display:inline-block;width:1.1em;text-align:right;opacity:.4}
[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
[aria-sort=descending] button::after{content:"\\2193";opacity:1}
.scores{width:92px;height:26px;display:inline-block;vertical-align:middle}
.scores rect{fill:var(--blue)}.scores path{stroke:var(--rule);fill:none}
figure{margin:14px 0 0;min-width:0}
.heat{display:block;width:calc(var(--w)*1px);height:auto;font-size:12px;fill:var(--soft)}
.heat .sum{fill:var(--bar)}.heat .heard{fill:var(--ink);fill-opacity:.06}.heat .all{fill:var(--orange)}
.heat .gap{stroke:var(--soft);stroke-dasharray:1 3;fill:none}
.cells{fill:var(--blue)}
.s1{fill-opacity:.16}.s2{fill-opacity:.24}.s3{fill-opacity:.32}.s4{fill-opacity:.4}.s5{fill-opacity:.5}
.s6{fill-opacity:.6}.s7{fill-opacity:.7}.s8{fill-opacity:.8}.s9{fill-opacity:.9}
.swatch{display:inline-block;width:84px;height:10px;margin:0 6px;vertical-align:middle;border-radius:2px;
background:linear-gradient(90deg,color-mix(in srgb,var(--blue) 16%,var(--paper)),var(--blue))}
.swatch.one{width:12px;margin-left:0;background:var(--blue)}
.swatch.heard{width:12px;background:var(--ink);opacity:.09}
.swatch.none{width:12px;border:1px solid var(--rule);background:none}
.legend span{white-space:nowrap;margin-right:16px}.legend .wrap{white-space:normal}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:16px;margin:18px 0 0;
padding:0;list-style:none}
.clips li{display:flex;flex-direction:column;background:var(--card);border:1px solid var(--rule);border-radius:6px;
overflow:hidden}
.shown{position:relative;background:#080c16;overflow:hidden}
.shown img{display:block;width:100%;height:120px}
.shown b{position:absolute;top:0;bottom:0;left:calc(var(--a)*100%);width:max(3px,calc((var(--b) - var(--a))*100%));
border:2px solid #f0a030;border-radius:2px}
.shown i{position:absolute;top:0;bottom:0;width:2px;left:calc(var(--t)*100%);background:#fff;display:none}
.playing i{display:block}
.ends{display:flex;justify-content:space-between;padding:2px 10px 0;font-size:12px;color:var(--soft)}
.clips p{margin:4px 10px 8px;font-size:13px;line-height:1.45}
.clips strong{font-size:14px}
audio{display:block;width:calc(100% - 12px);height:36px;margin:2px 6px 8px;margin-top:auto}
summary{cursor:pointer;color:var(--soft)}
footer{margin-top:56px;padding-top:14px;border-top:1px solid var(--rule);color:var(--soft);font-size:13px}
@media (max-width:560px){main{padding:26px 16px 48px}h1{font-size:25px}h2{margin-top:42px}
dl.facts{display:grid;grid-template-columns:1fr 1fr;gap:10px 14px}
dl.rows{grid-template-columns:minmax(0,1fr);gap:0}dl.rows dd{margin-bottom:8px}th,td{padding:6px 8px}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#ccc;--blue:#0072b2;--orange:#c65102;
--bar:#9cc9e3;--warn:#fff}main{max-width:none;padding:0}.tall{max-height:none;overflow:visible}
thead button{display:contents}thead button::after,audio{display:none}figure,.clips li,tr{break-inside:avoid}
h2,h3{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

# Sorts tables of class `sortable`; shows where a clip is playing, one at a time. The page is whole without it.
SCRIPT = """
(() => {
  "use strict";
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("fixed")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort"), numbers = head.classList.contains("n");
        const up = was ? was === "descending" : !numbers;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map(row => {
          const cell = row.cells[column], given = cell.dataset.v;
          return {row, text: cell.textContent, number: given ? Number(given) : NaN};
        });
        rows.sort((a, b) => {
          if (!numbers) return (up ? 1 : -1) * a.text.localeCompare(b.text);
          const none = Number.isNaN(a.number) - Number.isNaN(b.number);
          return none || Number.isNaN(a.number) ? none : (up ? 1 : -1) * (a.number - b.number);
        });
        body.append(...rows.map(item => item.row));
      });
    });
  }
  const sounds = [...document.querySelectorAll("audio")];
  for (const sound of sounds) {
    const shown = sound.closest("li").querySelector(".shown");
    const move = () => {
      if (sound.duration > 0) shown.style.setProperty("--t", sound.currentTime / sound.duration);
      if (!sound.paused) requestAnimationFrame(move);
    };
    sound.addEventListener("play", () => {
      for (const other of sounds) if (other !== sound) other.pause();
      shown.classList.add("playing");
      move();
    });
    sound.addEventListener("seeked", move);
    sound.addEventListener("ended", () => shown.classList.remove("playing"));
  }
})();
"""
