// The map of the classes over the raster: tiles of the newest head. What is shown stays until the newer tile is there.
import {pause} from "./server.js";

const SIDE = 256;
const AT_ONCE = 3;  // requests; a browser has six for a server, and clicks are to be saved without waiting
const KEPT = 240;  // tiles
const GROUND = 0.3;  // opacity of the first class beside that of the others, so that the image is seen through it

export class Overlay {
  constructor(state) {
    Object.assign(this, {width: state.width, height: state.height, factors: state.factors});
    this.canvas = document.createElement("canvas");
    this.box = document.createElement("div");  // OpenLayers draws the next layers into what is a canvas itself
    this.box.className = "overlay";
    this.box.append(this.canvas);
    this.layer = new ol.layer.Layer({render: frame => this.render(frame)});
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

  render(frame) {
    const {size: [w, h], pixelRatio: ratio, viewState: {center: [cx, cy], resolution}} = frame;
    const {canvas} = this, context = canvas.getContext("2d");
    Object.assign(canvas, {width: Math.round(w * ratio), height: Math.round(h * ratio)});  // which clears it
    canvas.style.opacity = this.outline ? (1 + this.opacity) / 2 : this.opacity;  // lines are thin
    if (!this.shown || !this.head) return this.box;
    context.imageSmoothingEnabled = false;
    const scale = ratio / resolution, left = cx - w * resolution / 2, top = -cy - h * resolution / 2;
    context.setTransform(scale, 0, 0, scale, -left * scale, -top * scale);
    const factor = this.factor(resolution);
    const cells = this.cells(factor, [left, top, left + w * resolution, top + h * resolution]);
    this.draw(context, cells, factor);
    const [animated, moved] = frame.viewHints;
    if (!animated && !moved) this.want(cells, cx, -cy);
    return this.box;
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
    if (tile === null && !stop.signal.aborted) await pause(1000);  // refused: the next head comes, or the server has ended
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

/** A tile as {picture, whole}: a canvas, and whether each of its pixels is known; null if it is not to be had. */
const picture = async (address, ground, signal) => {
  try {
    const answer = await fetch(address, {signal, cache: "no-store"});
    if (!answer.ok) return null;
    if (answer.status === 204) return {picture: new OffscreenCanvas(SIDE, SIDE), whole: false};  // nothing is known here
    const image = await createImageBitmap(await answer.blob());
    const canvas = new OffscreenCanvas(SIDE, SIDE), context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, SIDE, SIDE), whole = thinned(pixels.data, ground);
    context.putImageData(pixels, 0, 0);
    return {picture: canvas, whole};
  } catch {
    return null;  // stopped, or the server is gone: the page says so elsewhere
  }
};

/** Make pixels of a colour "#rrggbb" fainter; whether each pixel has a colour. */
const thinned = (data, colour) => {
  const [r, g, b] = [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
  let whole = true;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 0) whole = false;
    else if (data[at] === r && data[at + 1] === g && data[at + 2] === b) data[at + 3] = 255 * GROUND;
  }
  return whole;
};

/** Only the pixels of a tile whose right or lower neighbour is of another class, two pixels wide. */
const outlined = tile => {
  const from = tile.getContext("2d").getImageData(0, 0, SIDE, SIDE), to = new ImageData(SIDE, SIDE);
  const source = new Uint32Array(from.data.buffer), target = new Uint32Array(to.data.buffer);
  for (let at = 0; at < source.length - SIDE - 1; at++) {
    if (at % SIDE === SIDE - 1) continue;
    for (const next of [at + 1, at + SIDE])
      if (source[at] !== source[next]) [target[at], target[next]] = [source[at], source[next]];
  }
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  canvas.getContext("2d").putImageData(to, 0, 0);
  return canvas;
};
