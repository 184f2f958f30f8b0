"""How the report's page looks and what its one script does. No fonts, pictures or scripts from elsewhere."""

from __future__ import annotations

from peaframe.annotate.page_style import PAGE

__all__ = ["SCRIPT", "STYLE"]

# Blue and orange are Okabe and Ito's (2008), told apart by colour-blind eyes too.
_OWN = """
:root{color-scheme:light dark;--paper:#fff;--card:#f7f8f9;--ink:#1c2228;--soft:#5a646e;--rule:#dde1e5;
--blue:#0072b2;--orange:#c65102;--bar:#9cc9e3;--warn:#fdf0e3}
@media (prefers-color-scheme:dark){:root{--paper:#13171a;--card:#1b2024;--ink:#e4e7ea;--soft:#9aa5af;
--rule:#2d343a;--blue:#56b4e9;--orange:#f0a030;--bar:#2c6a8f;--warn:#33260f}}
h2{font-size:21px;line-height:1.3;margin:52px 0 4px;overflow-wrap:anywhere}
h3{font-size:15px;font-weight:600;margin:0 0 6px}
ul.notes{max-width:74ch;padding-left:20px;overflow-wrap:anywhere}
.failed{margin:0 0 26px;padding:12px 16px;background:var(--warn);border-left:4px solid var(--orange);
font-weight:600;max-width:none}
.query{display:block;max-width:30ch;min-width:13ch;overflow-wrap:anywhere}
.long{max-width:44ch;min-width:16ch;overflow-wrap:anywhere}
:focus-visible{outline:2px solid var(--blue);outline-offset:2px}
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
@media (max-width:560px){main{padding:26px 16px 48px}h1{font-size:25px}h2{margin-top:42px}
dl.facts{display:grid;grid-template-columns:1fr 1fr;gap:10px 14px}
dl.rows{grid-template-columns:minmax(0,1fr);gap:0}dl.rows dd{margin-bottom:8px}th,td{padding:6px 8px}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#ccc;--blue:#0072b2;--orange:#c65102;
--bar:#9cc9e3;--warn:#fff}main{max-width:none;padding:0}.tall{max-height:none;overflow:visible}
thead button{display:contents}thead button::after,audio{display:none}figure,.clips li,tr{break-inside:avoid}
h2,h3{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
STYLE = PAGE + _OWN

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
