"""The part of the pages' script that all charts use, and the chart of lines.

It is a string of Python because Flower's bundles take no .js file. It makes elements and sets texts; nothing of the
data is ever read as markup.
"""

LINES = r"""
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "11 3"];
const store = (() => {  // what was chosen survives the reload of a page that is kept fresh
  const key = "dimat " + location.pathname;
  let kept = {};
  try { kept = JSON.parse(sessionStorage.getItem(key)) || {}; } catch (error) { kept = {}; }
  return {
    of: id => kept[id] = kept[id] || {},
    save: () => { try { sessionStorage.setItem(key, JSON.stringify(kept)); } catch (error) { return; } },
  };
})();

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children || []) element.append(child);
  return element;
}
const svg = (tag, attributes, ...children) => put(document.createElementNS(NS, tag), attributes, children);
const html = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const colour = name => typeof name === "number" ? `var(--c${name % 7})` : `var(--${name})`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const dashes = series => DASHES[(series.dash || 0) % DASHES.length];

function text(x, y, words, anchor, kind) {
  return svg("text", {x, y, "text-anchor": anchor || "middle", class: kind || "tick"}, words);
}

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

function ticks(low, high, count) {
  const span = high - low || 1, raw = span / Math.max(1, count), ten = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map(factor => factor * ten).find(candidate => candidate >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k++)
    found.push(Number((k * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, most) {  // as many as there is room for; between near ends as on other axes
  if (high / low < 4) return ticks(low, high, Math.min(5, most));
  const tens = Math.log10(high / low), steps = tens * 3 < most ? [1, 2, 5] : tens * 2 < most ? [1, 3] : [1];
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const m of steps) {
      const value = Number((m * Math.pow(10, e)).toPrecision(12));
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  return found;
}

class Chart {
  constructor(figure, spec) {
    Object.assign(this, {figure, spec, state: store.of(spec.id)});
    this.controls = html("div", {class: "controls"});
    this.place = html("div", {class: "place"});
    this.tip = html("div", {class: "tip", role: "status"});
    this.place.append(this.tip);
    this.legend = html("div", {class: "legend", role: "group", "aria-label": "curves: press to hide or show"});
    figure.prepend(this.controls, this.place, this.legend);
    this.tip.hidden = true;
  }
  frame(width, height, label) {
    if (this.image) this.image.remove();
    this.image = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});
    this.place.prepend(this.image);
    return this.image;
  }
  choice(label, options, chosen, act) {
    if (options.length < 2) return;
    const select = html("select", {"aria-label": label});
    for (const [key, name] of options) {
      const option = html("option", {value: key}, name);
      option.selected = key === chosen;
      select.append(option);
    }
    select.addEventListener("change", () => { act(select.value); store.save(); this.draw(); });
    this.controls.append(html("label", {}, label + " ", select));
  }
  say(x, y, rows) {
    this.tip.replaceChildren(...rows);
    this.tip.hidden = false;
    const box = this.place.getBoundingClientRect(), scale = box.width / this.width;
    const room = box.width - this.tip.offsetWidth - 4;
    const left = x * scale + 14 > room ? x * scale - this.tip.offsetWidth - 14 : x * scale + 14;
    this.tip.style.left = `${clamp(left, 0, Math.max(0, room))}px`;
    this.tip.style.top = `${Math.max(0, y * scale - 10)}px`;
  }
  at(event) {
    const box = this.image.getBoundingClientRect(), scale = this.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }
  redraw(width) {
    this.width = width || Math.max(280, this.figure.clientWidth);
    this.draw();
  }
}

class Lines extends Chart {
  constructor(figure, spec) {
    super(figure, spec);
    this.state.hidden = this.state.hidden || [];
    const axes = spec.axes.map(axis => [axis.key, axis.name]);
    const views = spec.views.map(view => [view.key, view.name]);
    this.choice("show", views, this.view().key, key => { this.state.view = key; });
    this.choice("against", axes, this.axis().key, key => { this.state.axis = key; });
  }
  view() { return this.spec.views.find(view => view.key === this.state.view) || this.spec.views[0]; }
  axis() { return this.spec.axes.find(axis => axis.key === this.state.axis) || this.spec.axes[0]; }
  xs(series) {
    const key = this.axis().key, own = series.own && series.own[key];
    const all = (this.spec.xs[series.x] || {})[key];
    return own || (all && series.at ? series.at.map(k => all[k]) : all);
  }
  shown() {
    const hidden = this.state.hidden;
    return this.view().series.filter(series => this.xs(series) && !hidden.includes(series.group || series.name));
  }
  draw() {
    const view = this.view(), axis = this.axis(), height = clamp(this.width * 0.5, 230, 400);
    const right = 14, top = 12, bottom = 44;
    const image = this.frame(this.width, height, `${view.y} against ${axis.label}`);
    const points = [], spans = [];
    for (const series of this.shown()) this.xs(series).forEach((x, k) => {
      const y = series.y[k];
      if (x === null || y === null) return;
      points.push(x);
      spans.push(y, series.lo ? series.lo[k] : y, series.hi ? series.hi[k] : y);
    });
    this.points = [];
    if (!points.length) {
      image.append(text(this.width / 2, height / 2, "nothing to show here", "middle", "label"));
      return this.drawLegend();
    }
    const nought = axis.log && points.some(x => x <= 0), fit = points.filter(x => !axis.log || x > 0);
    if (!fit.length) fit.push(1);
    let [x0, x1] = [fit, fit].map((all, k) => all.reduce((a, b) => k ? Math.max(a, b) : Math.min(a, b)));
    let y0 = spans.reduce((a, b) => Math.min(a, b)), y1 = spans.reduce((a, b) => Math.max(a, b));
    if (view.span) [y0, y1] = [Math.min(y0, view.span[0]), Math.max(y1, view.span[1])];
    if (view.zero) [y0, y1] = [Math.min(y0, 0), Math.max(y1, 0)];
    if (view.least && y1 - y0 < view.least) [y0, y1] = [y0 + y1 - view.least, y0 + y1 + view.least].map(y => y / 2);
    const spare = (y1 - y0) * 0.06 || Math.max(1e-9, Math.abs(y1) * 0.05) || 1;
    [y0, y1] = [y0 - spare, y1 + spare];
    if (view.bounds) [y0, y1] = [Math.max(y0, view.bounds[0]), Math.min(y1, view.bounds[1])];
    const marked = ticks(y0, y1, height / 60).map(y => [y, short(y)]);
    const left = 30 + 6.5 * marked.reduce((most, [, words]) => Math.max(most, words.length), 2);
    if (x0 === x1) [x0, x1] = axis.log ? [x0 / 2, x1 * 2] : [x0 - 0.5, x1 + 0.5];
    const along = axis.log ? Math.log10 : value => value, inset = 8, apart = nought ? 44 : 0;
    const span = this.width - left - right - 2 * inset - apart, from = left + inset + apart;
    const px = x => axis.log && x <= 0 ? left + inset : from + span * (along(x) - along(x0)) / (along(x1) - along(x0));
    const py = y => height - bottom - (height - top - bottom) * (y - y0) / (y1 - y0);
    for (const [y, words] of marked) {
      const kind = y === 0 && view.zero ? "zero" : "grid";
      image.append(svg("line", {x1: left, x2: this.width - right, y1: py(y), y2: py(y), class: kind}));
      image.append(text(left - 7, py(y) + 4, words, "end"));
    }
    const floor = height - bottom, places = axis.log ? logTicks(x0, x1, span / 40) : ticks(x0, x1, span / 60);
    if (nought) places.unshift(0);
    for (const x of places) if (!axis.whole || Number.isInteger(x)) {
      image.append(svg("line", {x1: px(x), x2: px(x), y1: floor, y2: floor + 4, class: "axis"}));
      image.append(text(px(x), floor + 17, short(x)));
    }
    image.append(svg("line", {x1: left, x2: this.width - right, y1: floor, y2: floor, class: "axis"}));
    image.append(text((left + this.width - right) / 2, height - 8, axis.label, "middle", "label"));
    const name = text(14, top + (height - top - bottom) / 2, view.y, "middle", "label");
    name.setAttribute("transform", `rotate(-90 14 ${top + (height - top - bottom) / 2})`);
    image.append(name);
    for (const round of (axis.key === "rounds" && view.marks) || []) if (round >= x0 && round <= x1)
      image.append(svg("line", {x1: px(round), x2: px(round), y1: top, y2: floor, class: "lost"}));
    this.curves(image, px, py);
    this.cursor = svg("g", {class: "cursor"});
    image.append(this.cursor);
    Object.assign(this, {px, py, top, bottom: floor});
    this.listen(image);
    this.drawLegend();
  }
  curves(image, px, py) {
    const bands = svg("g", {}), lines = svg("g", {});
    image.append(bands, lines);
    for (const series of this.shown()) {
      const xs = this.xs(series), whole = [];
      let path = "", broken = true;
      xs.forEach((x, k) => {
        const y = series.y[k];
        if (x === null || y === null) { broken = true; return; }
        const at = [px(x), py(y)];
        path += `${broken ? "M" : "L"}${at[0].toFixed(1)} ${at[1].toFixed(1)}`;
        broken = false;
        whole.push([at[0], k]);
        this.points.push({series, k, x, px: at[0], py: at[1]});
      });
      if (series.lo && whole.length > 1) {
        const up = whole.map(([x, k]) => `${x.toFixed(1)} ${py(series.hi[k]).toFixed(1)}`);
        const down = whole.map(([x, k]) => `${x.toFixed(1)} ${py(series.lo[k]).toFixed(1)}`).reverse();
        const band = svg("path", {d: `M${[...up, ...down].join("L")}Z`, class: "band"});
        band.style.fill = colour(series.colour);
        bands.append(band);
      }
      const line = svg("path", {d: path, class: "curve"});
      put(line, {"stroke-width": series.width, "stroke-dasharray": dashes(series)});
      line.style.stroke = colour(series.colour);
      if (series.opacity) line.style.opacity = series.opacity;
      lines.append(line);
      if (!series.points && whole.length > 1) continue;
      for (const [x, k] of whole) this.dot(lines, series, x, py(series.y[k]), k, py);
    }
  }
  dot(onto, series, x, y, k, py) {
    if (series.lo) {
      const bar = svg("line", {x1: x, x2: x, y1: py(series.lo[k]), y2: py(series.hi[k]), "stroke-width": 1.5});
      bar.style.stroke = colour(series.colour);
      onto.append(bar);
    }
    const diamond = `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`;
    const mark = svg("path", {d: diamond, class: "mark", "stroke-width": 1.8});
    mark.style.stroke = colour(series.colour);
    onto.append(mark);
  }
  listen(image) {
    put(image, {tabindex: 0});
    const leave = () => { this.tip.hidden = true; this.cursor.replaceChildren(); };
    image.addEventListener("pointermove", event => this.look(...this.at(event)));
    image.addEventListener("pointerdown", event => this.look(...this.at(event)));
    image.addEventListener("pointerleave", leave);
    image.addEventListener("blur", leave);
    image.addEventListener("keydown", event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step) return;
      event.preventDefault();
      const places = [...new Set(this.points.map(point => point.px))].sort((a, b) => a - b);
      const now = places.findIndex(x => x >= (this.where === undefined ? -1 : this.where) - 0.01);
      const next = clamp(this.where === undefined ? 0 : now + step, 0, places.length - 1);
      this.look(places[next], (this.top + this.bottom) / 2);
    });
  }
  look(x, y) {
    if (!this.points.length) return;
    let nearest = this.points[0], best = Infinity, closest = nearest, far = Infinity;
    for (const point of this.points) {
      const across = Math.abs(point.px - x), away = Math.hypot(point.px - x, point.py - y);
      if (across < best) [best, nearest] = [across, point];
      if (away < far) [far, closest] = [away, point];
    }
    this.where = nearest.px;
    const found = new Map();
    for (const point of this.points) {
      const before = found.get(point.series), off = Math.abs(point.px - nearest.px);
      if (!before || off < Math.abs(before.px - nearest.px)) found.set(point.series, point);
    }
    let rows = [...found.values()].filter(point => Math.abs(point.px - nearest.px) < 24);
    if (rows.length > 12) rows = rows.sort((a, b) => Math.abs(a.py - y) - Math.abs(b.py - y)).slice(0, 12);
    rows.sort((a, b) => a.py - b.py);
    this.cursor.replaceChildren(svg("line", {x1: nearest.px, x2: nearest.px, y1: this.top, y2: this.bottom}));
    for (const point of rows) {
      const dot = svg("circle", {cx: point.px, cy: point.py, r: point === closest ? 5 : 3});
      dot.style.fill = colour(point.series.colour);
      this.cursor.append(dot);
    }
    const digits = this.view().digits, axis = this.axis();
    const head = html("b", {}, `${axis.name} ${short(nearest.x)} ${axis.unit}`);
    this.say(nearest.px, this.top, [head,
      ...rows.map(({series, k}) => {
        const half = series.lo ? ` ± ${((series.hi[k] - series.lo[k]) / 2).toFixed(digits)}` : "";
        const sign = this.view().zero && series.y[k] > 0 ? "+" : "";
        const remark = series.remarks && series.remarks[k] ? ` (${series.remarks[k]})` : "";
        const words = ` ${series.name}: ${sign}${series.y[k].toFixed(digits)}${half}${remark}`;
        const row = html("div", {}, swatch(series), words);
        if (series === closest.series) row.className = "near";
        return row;
      })]);
  }
  drawLegend() {
    const names = new Map();
    for (const series of this.view().series) if (this.xs(series)) {
      const name = series.group || series.name;
      if (!names.has(name)) names.set(name, series);
    }
    const active = document.activeElement, focused = active && this.legend.contains(active) && active.dataset.name;
    this.legend.replaceChildren(...[...names].map(([name, series]) => {
      const shown = !this.state.hidden.includes(name), words = ` ${series.legend || name}`;
      const button = html("button", {type: "button", "aria-pressed": shown}, swatch(series), words);
      button.dataset.name = name;
      button.addEventListener("click", () => {
        const hidden = this.state.hidden;
        this.state.hidden = hidden.includes(name) ? hidden.filter(other => other !== name) : [...hidden, name];
        store.save();
        this.draw();
      });
      return button;
    }));
    for (const button of this.legend.children) if (focused && button.dataset.name === focused) button.focus();
  }
}

function swatch(series) {
  const image = svg("svg", {width: 24, height: 10, viewBox: "0 0 24 10", "aria-hidden": "true"});
  const wide = Math.max(1.6, series.width), alone = series.points === "alone";
  const mark = alone ? svg("path", {d: "M12 1L16 5L12 9L8 5Z", class: "mark", "stroke-width": 1.6})
    : svg("path", {d: "M1 5H23", "stroke-width": wide, "stroke-dasharray": dashes(series)});
  mark.style.stroke = colour(series.colour);
  image.append(mark);
  return image;
}
"""
