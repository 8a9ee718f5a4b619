"""How the pages look: light and dark, wide and narrow, on screen and on paper."""

# The colours of curves are those of Okabe and Ito (https://jfly.uni-koeln.de/color), which people who see no red or no
# green can tell apart; yellow, too faint on paper, is left out. Dashes tell the same curves apart without colour.
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1d1f; --faint: #5f6368; --line: #dadce0; --grid: #e8eaed;
  --soft: #f5f6f7; --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b97f00; --c5: #3c9fd8;
  --c6: #7a5195; --good: #00704f; --bad: #b3470b; --unsure: #8a6100; --waits: #eef0f2; --asked: #d3d8dd;
  --working: #8d959d; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e8eaed; --faint: #a3a9b0; --line: #3a3f45; --grid: #2a2e33; --soft: #1f2327;
    --c0: #4fa8e0; --c1: #f08a3c; --c2: #2cc79b; --c3: #e09ac2; --c4: #e6a92e; --c5: #7cc6f2; --c6: #b493d3;
    --good: #2cc79b; --bad: #f08a3c; --unsure: #e6a92e; --waits: #22262a; --asked: #3d434a; --working: #7b848d; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 1.6rem auto; padding: 0 1rem; }
h1 { font-size: 1.55rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .3rem 0 .6rem; }
a { color: var(--c0); }
.faint { color: var(--faint); } .narrow { max-width: 46rem; }
.status { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; border: 2px solid var(--faint);
  font-weight: 600; }
.completed > .status, .completed .status.own { border-color: var(--good); color: var(--good); }
.failed .status { border-color: var(--bad); color: var(--bad); }
.incomplete .status, .interrupted .status { border-color: var(--unsure); color: var(--unsure); }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.1rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem; min-width: 7rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1rem 1.6rem; }
figure { margin: .4rem 0 1rem; min-width: 0; break-inside: avoid; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 46rem; }
figure img { max-width: 100%; background: #fff; }
.place { position: relative; } .place > svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.place > svg:focus-visible, button:focus-visible { outline: 2px solid var(--c0); outline-offset: 1px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg text.tick { fill: var(--faint);
  font-size: 11.5px; }
svg text.number { fill: var(--paper); font-weight: 600; } .gone text.number { fill: var(--bad); }
.grid { stroke: var(--grid); } .axis { stroke: var(--faint); } .zero { stroke: var(--faint); stroke-width: 1.4; }
.lost { stroke: var(--bad); stroke-dasharray: 1 3; }
.curve { fill: none; stroke-linejoin: round; } .band { opacity: .14; } .mark { fill: var(--paper); }
.cursor line { stroke: var(--faint); stroke-dasharray: 2 2; }
.waits { fill: var(--waits); } .asked { fill: var(--asked); } .working { fill: var(--working); }
.merging { fill: var(--c1); } .training { fill: var(--c0); }
.edge { stroke: var(--faint); stroke-width: 1.2; } .edge.lit { stroke: var(--c1); stroke-width: 2.6;
  opacity: 1 !important; }
.edge.cut { stroke: var(--bad); stroke-dasharray: 2 4; } .head { fill: var(--faint); }
.peer circle { fill: var(--c0); stroke: var(--paper); } .peer.gone circle { fill: var(--paper); stroke: var(--bad);
  stroke-width: 2; }
.peer:focus-visible { outline: none; } .peer:focus-visible circle { stroke: var(--c1); stroke-width: 4; }
.tip { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line);
  border-radius: .4rem;
  padding: .3rem .55rem; font-size: .82rem; line-height: 1.35; box-shadow: 0 2px 8px #0003; z-index: 2;
  max-width: 22rem;
  font-variant-numeric: tabular-nums; }
.tip .near { font-weight: 600; }
.controls { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin-bottom: .3rem; color: var(--faint);
  font-size: .9rem; }
select { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .25rem; margin: .2rem 0; }
.legend button, .key { font: inherit; font-size: .86rem; color: var(--ink); background: none;
  border: 1px solid transparent;
  border-radius: .3rem; padding: .05rem .4rem; }
.legend button { cursor: pointer; } .legend button:hover { border-color: var(--line); }
.legend button[aria-pressed=false] { opacity: .45; text-decoration: line-through; }
.legend path { fill: none; } .legend path.mark, .tip path.mark { fill: var(--paper); } .tip path { fill: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .93rem; }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
.numbers td, .numbers th { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.numbers .word { text-align: left; }
.problems td:last-child { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9em; }
.above { color: var(--good); } .below { color: var(--bad); } .missing { color: var(--unsure); }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; border-radius: .4rem; font-size: .85rem; }
details { margin: .4rem 0; } summary { cursor: pointer; }
@media print {
  body { max-width: none; margin: 0; font-size: 10.5pt; } .controls, .tip { display: none; }
  .legend button[aria-pressed=false] { display: none; } h2 { break-after: avoid; } pre { white-space: pre-wrap; }
.scroll { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
