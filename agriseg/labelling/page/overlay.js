// The map of the classes over the raster: tiles of the newest head. What is shown stays until the newer tile is there.
import {canvasLayer, edges} from "./canvas_layer.js";
import {outlined, picture, SIDE} from "./map_tile.js";
import {pause} from "./server.js";

const AT_ONCE = 3;  // requests; a browser has six for a server, and clicks are to be saved without waiting
const KEPT = 240;  // tiles

const ended = signal => new Promise(done => {
  if (signal.aborted) done();
  else signal.addEventListener("abort", done);
});

export class Overlay {
  constructor(state) {
    Object.assign(this, {width: state.width, height: state.height, factors: state.factors});
    this.layer = canvasLayer((context, frame, canvas) => this.render(context, frame, canvas));
    this.ground = state.classes[0].colour;
    this.head = this.known = 0;
    this.tiles = new Map();  // by factor/col/row; the last used are last
    this.loading = new Map();
    this.wanted = [];
    this.shown = true;
    this.outline = false;
    this.opacity = 0.5;
    this.settled = () => {};  // told the head once all tiles in sight are of it
  }

  /** The newest head, and the share of the raster that is known to it. */
  update(head, known) {
    if (head === this.head && known === this.known) return;
    if (head !== this.head) for (const stop of this.loading.values()) stop.abort();
    Object.assign(this, {head, known});
    this.layer.changed();
  }

  set(options) {
    Object.assign(this, options);
    this.layer.changed();
  }

  /** The factor of the tiles at a resolution, raster pixels a screen pixel. */
  factor(resolution) {
    return this.factors.findLast(factor => factor <= resolution * 1.42) ?? this.factors[0];
  }

  render(context, frame, canvas) {
    canvas.style.opacity = this.outline ? (1 + this.opacity) / 2 : this.opacity;  // lines are thin
    if (!this.shown || !this.head) return;
    const {pixelRatio, viewState: {center: [x, y], resolution}, viewHints: [animated, moved]} = frame;
    const seen = edges(frame), scale = pixelRatio / resolution, factor = this.factor(resolution);
    context.imageSmoothingEnabled = false;
    context.setTransform(scale, 0, 0, scale, -seen[0] * scale, -seen[1] * scale);
    const cells = this.cells(factor, seen);
    this.draw(context, cells, factor);
    if (!animated && !moved) this.want(cells, x, -y);
  }

  /** The tiles of a factor that a box [left, top, right, bottom] of raster pixels touches. */
  cells(factor, [left, top, right, bottom]) {
    const side = SIDE * factor, cells = [];
    const last = (end, length) => Math.min(Math.ceil(end / side), Math.ceil(length / side));
    for (let row = Math.max(0, Math.floor(top / side)); row < last(bottom, this.height); row++)
      for (let col = Math.max(0, Math.floor(left / side)); col < last(right, this.width); col++)
        cells.push({key: `${factor}/${col}/${row}`, x: col * side, y: row * side, side});
    return cells;
  }

  draw(context, cells, factor) {
    const gaps = new Path2D();
    for (const cell of cells) {
      const tile = this.tiles.get(cell.key);
      if (tile) this.put(context, tile);
      else gaps.rect(cell.x, cell.y, cell.side, cell.side);
    }
    context.save();
    context.clip(gaps);  // where nothing of this factor is known: what other factors have
    const distance = tile => Math.abs(Math.log2(tile.side / SIDE / factor));
    const others = [...this.tiles.values()].filter(tile => tile.side !== SIDE * factor);
    for (const tile of others.sort((a, b) => distance(b) - distance(a))) this.put(context, tile);
    context.restore();
  }

  put(context, tile) {
    if (this.outline) tile.lines ??= outlined(tile.picture);
    context.drawImage(this.outline ? tile.lines : tile.picture, tile.x, tile.y, tile.side, tile.side);
  }

  /** Ask for the tiles in sight that are not of this head, from the middle outwards. */
  want(cells, x, y) {
    const missing = cells.filter(({key}) => {
      const tile = this.tiles.get(key);
      return !tile || tile.head !== this.head || !tile.whole && tile.known !== this.known;
    });
    const away = cell => Math.hypot(cell.x + cell.side / 2 - x, cell.y + cell.side / 2 - y);
    this.wanted = missing.sort((a, b) => away(a) - away(b));
    const keys = new Set(missing.map(cell => cell.key));
    for (const [key, stop] of this.loading) if (!keys.has(key)) stop.abort();
    if (!missing.length) this.settled(this.head);
    this.load();
  }

  load() {
    while (this.loading.size < AT_ONCE) {
      const cell = this.wanted.find(each => !this.loading.has(each.key));
      if (!cell) return;
      this.wanted = this.wanted.filter(each => each !== cell);
      this.fetch(cell);
    }
  }

  async fetch(cell) {
    const stop = new AbortController(), {head, known} = this;
    this.loading.set(cell.key, stop);
    const tile = await picture(`map/${head}/${cell.key}`, this.ground, stop.signal);
    // refused: the next head comes, or the server has ended
    if (tile === null) await Promise.race([pause(1000), ended(stop.signal)]);
    this.loading.delete(cell.key);
    if (tile) this.keep(cell, {...cell, ...tile, head, known});
    this.layer.changed();
  }

  keep(cell, tile) {
    this.tiles.delete(cell.key);
    this.tiles.set(cell.key, tile);
    for (const key of this.tiles.keys()) if (this.tiles.size > KEPT) this.tiles.delete(key);
  }
}
