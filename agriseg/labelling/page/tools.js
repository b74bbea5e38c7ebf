// What a pointer, or Enter at the crosshair, does to the labels. A place is {xy, pixel, reach}: raster and screen.

const tidy = value => Math.round(value * 100) / 100;

const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** The tools, and the one in hand. `desk`: {view, labels, chosen(), say(sentence)}. */
export class Hand {
  constructor(desk, changed) {
    this.tools = {
      point: new Point(desk), line: new Path(desk, "line"), polygon: new Path(desk, "polygon"), area: new Box(desk),
      erase: new Erase(desk), pan: new Pan(),
    };
    this.changed = changed;
    this.take("point");
  }

  take(name) {
    this.tool?.cancel();
    this.name = name;
    this.tool = this.tools[name];
    this.changed(name);
  }
}

/** A tool that does nothing yet. */
class Tool {
  constructor(desk) {
    this.desk = desk;
  }

  press() {}
  drag() {}
  dragged() {}
  click() {}
  hover() {}
  cancel() {}

  /** Take the last step of an unfinished drawing back; false if there is none. */
  back() {
    return false;
  }

  make(kind, xy, name = this.desk.chosen()) {
    const {width, height} = this.desk.view, inside = (value, most) => tidy(Math.min(Math.max(value, 0), most));
    const at = xy.map(([x, y]) => [inside(x, width), inside(y, height)]);
    return {id: crypto.randomUUID(), kind, class: kind === "area" ? null : name, xy: at};
  }

  add(kind, xy) {
    this.desk.labels.do({add: [this.make(kind, xy)], remove: []});
  }
}

class Pan extends Tool {
  pans = true;
}

/** A click is a label; on the marker of another class it changes the class. */
class Point extends Tool {
  clicks = true;

  click({xy}) {
    const {view, labels} = this.desk, there = labels.all.get(view.marker(xy));
    if (there && there.class !== this.desk.chosen()) labels.do({add: [this.make("point", there.xy)], remove: [there]});
    else if (view.has(xy)) this.add("point", [xy]);
    else this.desk.say("This place is outside the image.");
  }
}

/** A line or a polygon: a drag draws freely, clicks set corners; the last place again, or a double click, ends it. */
class Path extends Tool {
  constructor(desk, kind) {
    super(desk);
    this.kind = kind;
    this.least = kind === "line" ? 2 : 3;
    this.corners = [];
    this.trace = [];
  }

  press({xy}) {
    this.trace = [xy];
  }

  drag({xy}) {
    const step = this.desk.view.resolution;  // one screen pixel
    if (far(xy, this.trace.at(-1)) >= step) this.trace.push(xy);
    this.sketch(this.trace);
  }

  dragged() {
    const drawn = simplified(this.trace, this.desk.view.resolution * 0.75), begun = this.corners.length > 0;
    this.trace = [];
    this.corners.push(...drawn);
    if (begun) this.sketch();
    else this.end();
  }

  click({xy, reach, twice, key}) {
    const {view} = this.desk, near = corner => corner && far(view.pixel(corner), view.pixel(xy)) <= (key ? 1 : reach);
    this.trace = [];
    const again = this.corners.length && (twice || near(this.corners.at(-1)));
    const closed = this.kind === "polygon" && this.corners.length >= 3 && near(this.corners[0]);
    if (again || closed) return this.end();
    this.corners.push(xy);
    this.sketch();
  }

  hover({xy}) {
    if (this.corners.length) this.sketch([xy]);
  }

  end() {
    const {corners} = this;
    this.cancel();
    if (corners.length >= this.least) this.add(this.kind, corners);
    else this.desk.say(this.kind === "line" ? "A line needs two places: drag, or click twice."
      : "A polygon needs three corners: click around it, or drag.");
  }

  sketch(more = []) {
    const xy = [...this.corners, ...more], [first, ...others] = xy;
    if (!first) return this.desk.view.sketch();
    const kind = xy.length < this.least ? others.length ? "line" : "point" : this.kind;
    const dots = this.corners.map(corner => this.make("point", [corner]));
    this.desk.view.sketch(this.make(kind, xy), ...dots.slice(0, 1), ...dots.slice(1).slice(-1));
  }

  back() {
    if (!this.corners.length) return false;
    this.corners.pop();
    this.sketch();
    return true;
  }

  cancel() {
    this.corners = [];
    this.trace = [];
    this.desk.view.sketch();
  }
}

const rectangle = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];

/** A box in which everything is labelled: from corner to corner, by a drag or two clicks. */
class Box extends Tool {
  from = null;
  set = false;  // the first corner, by a click

  press({xy}) {
    this.from ??= xy;
  }

  drag({xy}) {
    this.hover({xy});
  }

  hover({xy}) {
    if (this.from) this.desk.view.sketch(this.make("area", rectangle(this.from, xy)));
  }

  click({xy}) {
    if (this.set) return this.dragged({xy});
    this.from = xy;
    this.set = true;
    this.desk.say("Now the opposite corner.");
  }

  dragged({xy}) {
    const {from} = this, {view} = this.desk;
    this.cancel();
    const [w, h] = [0, 1].map(axis => Math.abs(view.pixel(xy)[axis] - view.pixel(from)[axis]));
    if (w >= 4 && h >= 4) this.add("area", rectangle(from, xy));
    else this.desk.say("This box is too small.");
  }

  back() {
    const begun = this.set;
    this.cancel();
    return begun;
  }

  cancel() {
    this.from = null;
    this.set = false;
    this.desk.view.sketch();
  }
}

/** Remove what is clicked, or what a drag comes over: one step of undo. */
class Erase extends Tool {
  constructor(desk) {
    super(desk);
    this.found = [];
  }

  /** Hide the label at a place until the pointer is up. */
  rub({xy, reach}, inside) {
    const {view, labels} = this.desk, label = labels.all.get(view.label(xy, reach + 4, inside));
    if (!label) return;
    this.found.push(label);
    view.show({add: [], remove: [label]});
  }

  press(at) {
    this.rub(at, false);
  }

  drag(at) {
    this.rub(at, false);
  }

  click(at) {
    if (!this.found.length) this.rub(at, true);
    if (!this.found.length) this.desk.say("There is no label here.");
    this.dragged();
  }

  dragged() {
    const remove = this.found;
    this.cancel();
    this.desk.labels.do({add: [], remove});
  }

  cancel() {
    this.desk.view.show({add: this.found, remove: []});
    this.found = [];
  }
}

/** Fewer places of a line, none further away from it than a tolerance (Douglas and Peucker). */
const simplified = (xy, tolerance) => {
  const keep = new Set([0, xy.length - 1]), open = [[0, xy.length - 1]];
  while (open.length) {
    const [from, to] = open.pop();
    let worst = tolerance, at = null;
    for (let each = from + 1; each < to; each++) {
      const away = aside(xy[each], xy[from], xy[to]);
      if (away > worst) [worst, at] = [away, each];
    }
    if (at === null) continue;
    keep.add(at);
    open.push([from, at], [at, to]);
  }
  return xy.filter((_, index) => keep.has(index));
};

/** How far a place is from the line between two others. */
const aside = ([x, y], [x0, y0], [x1, y1]) => {
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length)) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
};
