"""The part of the pages' script that draws shares as colours, a timeline and a graph, and starts everything."""

OTHERS = r"""
const RAMP = [[0, 34, 78], [65, 77, 107], [124, 123, 120], [188, 175, 111], [254, 232, 56]];  // cividis
function ramp(share) {
  const at = clamp(share, 0, 1) * (RAMP.length - 1), k = Math.min(RAMP.length - 2, Math.floor(at));
  return `rgb(${RAMP[k].map((from, c) => Math.round(from + (at - k) * (RAMP[k + 1][c] - from))).join(",")})`;
}
const brief = (name, most) => name.length > most ? name.slice(0, most - 1) + "…" : name;

class Shares extends Chart {  // a row per group, a column per round, a colour per share
  draw() {
    const {rows, columns, values} = this.spec, narrow = this.width < 560;
    const names = narrow ? 14 : 34, longest = clamp(Math.max(...rows.map(row => row.length)), 5, names);
    const left = 16 + 6.6 * longest, line = rows.length > 30 ? 12 : 18, top = 6, bottom = top + line * rows.length;
    const image = this.frame(this.width, bottom + 88, this.spec.label);
    const wide = (this.width - left - 14) / columns.length;
    const highest = values.reduce((most, row) => row.reduce((a, b) => Math.max(a, b || 0), most), 0) || 1;
    rows.forEach((row, r) => {
      image.append(text(left - 6, top + line * (r + 0.5) + 4, brief(row, names), "end"));
      columns.forEach((_, c) => {
        const value = values[r][c];
        if (value === null) return;
        const cell = svg("rect", {x: left + wide * c, y: top + line * r, width: wide + 0.3, height: line - 1});
        cell.style.fill = ramp(value / highest);
        image.append(cell);
      });
    });
    const every = Math.ceil(34 / wide);
    columns.forEach((round, c) => {
      if (c % every === 0) image.append(text(left + wide * (c + 0.5), bottom + 15, String(round)));
    });
    image.append(text((left + this.width - 14) / 2, bottom + 32, "round", "middle", "label"));
    const scale = Math.min(240, this.width - left - 14);
    for (let k = 0; k < 60; k++) {
      const cell = svg("rect", {x: left + scale * k / 60, y: bottom + 46, width: scale / 60 + 0.5, height: 12});
      cell.style.fill = ramp(k / 59);
      image.append(cell);
    }
    image.append(text(left, bottom + 76, "0 %", "start"), text(left + scale / 2, bottom + 76, "units moved"),
      text(left + scale, bottom + 76, `${(100 * highest).toFixed(1)} %`, "end"));
    const find = (x, y) => {
      const r = clamp(Math.floor((y - top) / line), 0, rows.length - 1);
      const c = clamp(Math.floor((x - left) / wide), 0, columns.length - 1), value = values[r][c];
      const words = value === null ? "not told" : `${(100 * value).toFixed(2)} % of units moved`;
      const lines = [html("b", {}, rows[r]), html("div", {}, `round ${columns[c]}: ${words}`)];
      this.say(left + wide * (c + 0.5), top + line * r, lines);
    };
    explore(this, image, find, [left, top, wide, line]);
  }
}

function explore(chart, image, find, [left, top, wide, line]) {  // pointer, and arrow keys from cell to cell
  put(image, {tabindex: 0});
  let x = left + 1, y = top + 1;
  const leave = () => { chart.tip.hidden = true; };
  image.addEventListener("pointermove", event => { [x, y] = chart.at(event); find(x, y); });
  image.addEventListener("pointerdown", event => { [x, y] = chart.at(event); find(x, y); });
  image.addEventListener("pointerleave", leave);
  image.addEventListener("blur", leave);
  image.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    x = clamp(x + step[0] * wide, left + 1, chart.width - 15);
    y = Math.max(top + 1, y + step[1] * line);
    find(x, y);
  });
}

class Timeline extends Chart {  // who was asked when, and what of that time was training and merging
  draw() {
    const {peers, unit, per} = this.spec, count = peers.length;
    const line = count > 60 ? 7 : count > 20 ? 11 : 22, left = 58, right = 14, top = 6, bottom = top + line * count;
    const image = this.frame(this.width, bottom + 46, this.spec.label);
    const [from, to] = [this.spec.from, this.spec.to], span = this.width - left - right;
    const px = seconds => left + span * (seconds - from) / (to - from || 1);
    const paths = {asked: "", working: "", merging: "", training: ""};
    const bar = (kind, a, b, y) => {
      const x = px(a).toFixed(1), wide = Math.max(0.4, px(b) - px(a)).toFixed(1);
      if (b > a) paths[kind] += `M${x} ${y}h${wide}v${line - 3}h${-wide}Z`;
    };
    peers.forEach((row, r) => {
      const y = top + line * r + 1;
      image.append(svg("rect", {x: left, y, width: span, height: line - 3, class: "waits"}));
      const words = line > 14 ? `peer ${row.peer}` : r % 5 === 0 ? String(row.peer) : "";
      image.append(text(left - 6, y + line / 2 + 2, words, "end"));
      row.work.forEach(([sent, answered, working, training, merging]) => {
        bar("asked", sent, answered - working, y);
        bar("working", answered - working, answered, y);
        bar("training", answered - training, answered, y);
        bar("merging", answered - training - merging, answered - training, y);
      });
    });
    for (const kind of Object.keys(paths)) image.append(svg("path", {d: paths[kind], class: kind}));
    for (const value of ticks(from / per, to / per, span / 90)) {
      const x = px(value * per);
      image.append(svg("line", {x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "axis"}));
      image.append(text(x, bottom + 17, short(value)));
    }
    image.append(text(left + span / 2, bottom + 38, `time since the run began (${unit})`, "middle", "label"));
    const kinds = {training: "trains", merging: "aligns and mixes", working: this.spec.works, asked: this.spec.asked,
      waits: this.spec.waits};
    this.legend.replaceChildren(...Object.entries(kinds).map(([kind, words]) => {
      const swatch = svg("rect", {x: 1, y: 1, width: 22, height: 10, class: kind});
      const box = svg("svg", {width: 24, height: 12, "aria-hidden": "true"}, swatch);
      return html("span", {class: "key"}, box, ` ${words}`);
    }));
    const seconds = value => `${value.toFixed(value < 10 ? 2 : 1)} s`;
    const find = (x, y) => {
      const row = peers[clamp(Math.floor((y - top) / line), 0, count - 1)], at = from + (to - from) * (x - left) / span;
      const done = row.work.find(([sent, answered]) => sent <= at && at <= answered), words = [this.spec.waits];
      if (done) {
        const [sent, answered, working, training, merging, round] = done;
        words.splice(0, 1, `round ${round}: answered ${seconds(answered - sent)} after it was asked`,
          `of these at work ${seconds(working)}`,
          `of these training ${seconds(training)}, merging ${seconds(merging)}`);
      }
      const lines = words.map(word => html("div", {}, word));
      const when = html("b", {}, `peer ${row.peer} at ${short(at / per)} ${unit}`);
      this.say(clamp(x, left, this.width - right), Math.max(0, y - 4), [when, ...lines]);
    };
    explore(this, image, find, [left, top, span / 60, line]);
  }
}

class Graph extends Chart {  // who reads from whom
  draw() {
    const {places, edges, lost} = this.spec, side = Math.min(this.width, 460);
    const radius = clamp(16 - places.length / 5, 3, 15), middle = side / 2, reach = middle - radius - 14;
    this.width = side;
    this.place.style.maxWidth = `${side}px`;
    const image = this.frame(side, side, this.spec.label);
    this.spot = peer => [middle + reach * places[peer][0], middle - reach * places[peer][1]];
    const lines = this.lines(image, radius), gone = peer => lost.includes(peer);
    const show = peer => {
      for (const [source, reader, line] of lines) line.classList.toggle("lit", peer === source || peer === reader);
      if (peer === undefined) { this.tip.hidden = true; return; }
      const all = edges.filter(edge => edge[1] === peer).map(([source, , weight]) =>
        weight === null ? String(source) : `${source} (${short(Number(weight.toPrecision(3)))})`);
      const reads = all.slice(0, 12).join(", ") + (all.length > 12 ? `, … ${all.length} in all` : "");
      const [x, y] = this.spot(peer), name = html("b", {}, `peer ${peer}${gone(peer) ? ", lost" : ""}`);
      this.say(x + radius, y, [name, html("div", {}, this.spec.told[peer] || ""),
        html("div", {}, `reads from ${reads || "nobody"}`)]);
    };
    places.forEach((_, peer) => {
      const [x, y] = this.spot(peer), kind = gone(peer) ? "peer gone" : "peer";
      const node = svg("g", {class: kind, role: "img", "aria-label": `peer ${peer}`});
      node.append(svg("circle", {cx: x, cy: y, r: radius}));
      if (places.length <= 100) node.setAttribute("tabindex", 0);
      if (radius > 6) node.append(text(x, y + 4, String(peer), "middle", "number"));
      for (const kind of ["pointerenter", "pointerdown", "focus"]) node.addEventListener(kind, () => show(peer));
      for (const kind of ["pointerleave", "blur"]) node.addEventListener(kind, () => show(undefined));
      image.append(node);
    });
  }
  lines(image, radius) {  // one line for both directions; with heads where there are few
    const {edges, lost} = this.spec, heads = edges.length <= 300;
    const head = svg("marker", {id: "head", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7,
      orient: "auto-start-reverse"}, svg("path", {d: "M0 1L10 5L0 9Z", class: "head"}));
    image.append(svg("defs", {}, head));
    const there = new Set(edges.map(([source, reader]) => `${source} ${reader}`)), found = [];
    for (const [source, reader] of edges) {
      const both = there.has(`${reader} ${source}`);
      if (both && source > reader) continue;
      const [x1, y1] = this.spot(source), [x2, y2] = this.spot(reader), long = Math.hypot(x2 - x1, y2 - y1) || 1;
      const [dx, dy] = [x2 - x1, y2 - y1].map(way => way * Math.min(0.5, (radius + 3) / long));
      const line = svg("line", {x1: x1 + dx, y1: y1 + dy, x2: x2 - dx, y2: y2 - dy, class: "edge"});
      if (heads) line.setAttribute("marker-end", "url(#head)");
      if (heads && both) line.setAttribute("marker-start", "url(#head)");
      if (edges.length > 60) line.style.opacity = clamp(120 / edges.length, 0.08, 0.6);
      if (lost.includes(source) || lost.includes(reader)) line.classList.add("cut");
      image.append(line);
      found.push([source, reader, line]);
    }
    return found;
  }
}

const KINDS = {lines: Lines, shares: Shares, timeline: Timeline, graph: Graph};
const charts = DATA.map(spec => {
  const chart = new KINDS[spec.kind](document.getElementById(spec.id), spec);
  chart.redraw();
  return chart;
});
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width) charts.forEach(chart => chart.redraw());
  width = window.innerWidth;
});
window.addEventListener("beforeprint", () => {
  for (const chart of charts) chart.redraw(Math.min(680, chart.figure.clientWidth));
});
window.addEventListener("afterprint", () => charts.forEach(chart => chart.redraw()));
document.documentElement.classList.add("drawn");
"""
