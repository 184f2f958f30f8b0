"""How the report's page looks and what its one script does. No fonts, pictures or scripts from elsewhere."""

from __future__ import annotations

from peaframe.annotate.page_style import PAGE

__all__ = ["SCRIPT", "STYLE"]

# Blue and orange are Okabe and Ito's (2008), told apart by colour-blind eyes too.
_OWN = """
:root{color-scheme:light dark;--paper:#fff;--card:#f7f8f9;--ink:#1c2228;--soft:#5a646e;--rule:#dde1e5;
--blue:#0072b2;--orange:#c65102;--thin:#7b8794;--bar:#9cc9e3;--warn:#fdf0e3;--strong:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#13171a;--card:#1b2024;--ink:#e4e7ea;--soft:#9aa5af;
--rule:#2d343a;--blue:#56b4e9;--orange:#f0a030;--thin:#7d8893;--bar:#2c6a8f;--warn:#33260f;--strong:#0c0f11}}
h2{font-size:21px;line-height:1.3;margin:52px 0 4px}
.partial{max-width:none;margin:0 0 26px;padding:12px 16px;background:var(--warn);
border-left:4px solid var(--orange);
font-weight:600}
.cards{display:grid;grid-template-columns:repeat(var(--n),minmax(0,1fr));gap:14px;margin:28px 0 8px;
padding:0;list-style:none}
.cards li{display:flex;flex-direction:column;padding:14px 16px 15px;background:var(--card);
border:1px solid var(--rule);border-radius:6px}
.cards .name{display:flex;justify-content:space-between;gap:8px;font-size:13px;line-height:1.4;
color:var(--soft);overflow-wrap:anywhere}
.cards .value{font-size:34px;line-height:1.2;margin:auto 0 0}
.cards b.tag{color:var(--orange);font-weight:600;white-space:nowrap}
.cards small{white-space:nowrap}
.scale{position:relative;display:block;height:7px;margin:7px 0 8px;border-radius:4px;background:var(--rule)}
.scale i{position:absolute;top:0;height:7px;left:calc(var(--a)*100%);
width:max(3px,calc((var(--b) - var(--a))*100%));
background:var(--blue);opacity:.45;border-radius:4px}
.scale b{position:absolute;top:-3px;height:13px;width:3px;margin-left:-1.5px;left:calc(var(--v)*100%);
background:var(--blue);border-radius:2px}
table.narrow{width:auto;min-width:min(100%,460px)}
td.bar{min-width:84px;background:linear-gradient(var(--bar),var(--bar)) no-repeat 10px calc(100% - 2px)/
calc((100% - 20px)*var(--v)) 3px}
.labels{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden;max-width:30ch;
min-width:11ch;overflow-wrap:anywhere}
.long{max-width:52ch;min-width:19ch;overflow-wrap:anywhere}
.what{display:grid;grid-template-columns:235px minmax(0,1fr);align-items:baseline;gap:0 16px;
overflow-wrap:anywhere}
thead button:focus-visible,select:focus-visible,summary:focus-visible,.scroll:focus-visible{
outline:2px solid var(--blue);outline-offset:2px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:26px 30px;
margin:14px 0}
.pair.lean{grid-template-columns:minmax(0,1.9fr) minmax(0,1fr)}
@media (max-width:860px){.pair.lean{grid-template-columns:minmax(0,1fr)}}
.stack figure{margin-bottom:26px}
figure{margin:0;min-width:0}
figure h3,h3{font-size:15px;font-weight:600;margin:0 0 6px}
svg{display:block;width:100%;height:auto;font-size:12.5px;fill:var(--soft)}
svg .axis{font-size:13px}
svg path{fill:none;vector-effect:non-scaling-stroke}
svg .grid{stroke:var(--rule);stroke-width:1}
svg .area{fill:var(--blue);opacity:.09}
svg .label{stroke:var(--thin);stroke-width:1;opacity:var(--faint,.5);pointer-events:stroke;cursor:pointer}
svg .label:hover{stroke:var(--orange);stroke-width:2.5;opacity:1}
svg .halo{stroke:var(--paper);stroke-width:5.5;pointer-events:none}
svg .mean{stroke:var(--blue);stroke-width:2.8;pointer-events:none}
svg .picked{stroke:var(--orange);stroke-width:2.4;pointer-events:none}
.key{display:inline-block;width:22px;margin-right:6px;vertical-align:middle;border-top:3px solid var(--blue)}
.key.one{border-top:1.5px solid var(--thin)}
.key.chosen{border-color:var(--orange)}
.heat{max-width:calc(var(--w)*1px);min-width:min(calc(var(--w)*1px),600px);fill:var(--ink);font-size:13px}
.heat .odd{fill:var(--soft);font-style:italic}
.heat rect{stroke:none}
.heat .strong{fill:var(--strong)}
.heat text{pointer-events:none}
.hit{fill:var(--blue)}.miss{fill:var(--orange)}
.s0{fill:var(--ink);fill-opacity:.045}.s1{fill-opacity:.13}.s2{fill-opacity:.22}.s3{fill-opacity:.31}.s4{
fill-opacity:.4}
.s5{fill-opacity:.5}.s6{fill-opacity:.6}.s7{fill-opacity:.7}.s8{fill-opacity:.8}.s9{fill-opacity:.9}.s10{
fill-opacity:1}
.swatch{display:inline-block;width:84px;height:9px;margin:0 6px;vertical-align:middle;border-radius:2px}
.swatch.right{background:linear-gradient(90deg,var(--card),var(--blue))}
.swatch.wrong{background:linear-gradient(90deg,var(--card),var(--orange))}
.pick{display:none;margin:10px 0 0;max-width:none}
.pick output{margin-left:8px;font-size:13px}
.js .pick{display:block}
select{font:inherit;max-width:min(100%,360px);padding:4px 8px;color:var(--ink);background:var(--card);
border:1px solid var(--rule);border-radius:5px;margin-left:6px}
@media (max-width:560px){main{padding:26px 16px 48px}h1{font-size:25px}h2{margin-top:42px}
.cards{grid-template-columns:repeat(2,minmax(0,1fr));gap:10px}.cards li{padding:11px 12px}.cards .value{
font-size:27px}
dl.facts{display:grid;grid-template-columns:1fr 1fr;gap:10px 14px}dl.rows{grid-template-columns:minmax(0,1fr);
gap:0}dl.rows dd{margin-bottom:8px}
.labels{max-width:17ch}th,td{padding:6px 8px}.tall th:first-child{position:sticky;left:0;
background:var(--paper)}
.tall thead th:first-child{z-index:2}.what{grid-template-columns:minmax(0,1fr)}
.pick output{display:block;margin:4px 0 0}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#ccc;--blue:#0072b2;--orange:#c65102;
--thin:#888;--warn:#fff;--strong:#fff;--bar:#9cc9e3}main{max-width:none;padding:0}.tall{max-height:none;overflow:visible}
.js .pick{display:none}thead button{display:contents}thead button::after{display:none}
.pair{grid-template-columns:1fr 1fr;gap:16px}.pair.lean{grid-template-columns:1.9fr 1fr}
figure,.cards li,tr{break-inside:avoid}h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
STYLE = PAGE + _OWN

# Sorts tables of class `sortable`, and shows one label's curves in orange. The page is whole without it.
SCRIPT = """
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const value = text => {
    const plain = text.replace("\\u2212", "-").replace("\\u221e", "Infinity");
    return plain.trim() === "" ? NaN : Number(plain);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        const up = was ? was === "descending" : !head.classList.contains("n");
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map(row => {
          const text = row.cells[column].textContent;
          return {row, text, number: value(text)};
        });
        const numbers = head.classList.contains("n");
        rows.sort((a, b) => {
          if (!numbers) return (up ? 1 : -1) * a.text.localeCompare(b.text);
          const none = Number.isNaN(a.number) - Number.isNaN(b.number);
          if (none || Number.isNaN(a.number)) return none;
          return a.number === b.number ? 0 : (up ? 1 : -1) * (a.number < b.number ? -1 : 1);
        });
        body.append(...rows.map(item => item.row));
      });
    });
  }
  const pick = document.querySelector(".pick select");
  if (!pick) return;
  const charts = [...document.querySelectorAll("svg.curves")];
  const names = new Map();
  for (const path of document.querySelectorAll("svg.curves .label"))
    names.set(path.dataset.label, path.querySelector("title").textContent);
  for (const [place, name] of names) pick.add(new Option(name, place));
  const show = () => {
    for (const chart of charts) {
      const path = pick.value && chart.querySelector(`.label[data-label="${pick.value}"]`);
      chart.querySelector(".picked").setAttribute("d", path ? path.getAttribute("d") : "");
    }
    const row = document.querySelector(`tr[data-label="${pick.value}"]`);
    const heads = row ? [...row.closest("table").tHead.rows[0].cells].slice(1) : [];
    document.querySelector(".pick output").textContent =
      heads.map((head, i) => `${head.textContent} ${row.cells[i + 1].textContent}`).join(" \\u00b7 ");
  };
  pick.addEventListener("change", show);
  for (const chart of charts) chart.addEventListener("click", event => {
    const path = event.target.closest(".label");
    if (path) { pick.value = path.dataset.label; show(); }
  });
  show();
})();
"""
