// The raster, the map and the labels in one view. All coordinates here are raster pixels [x, y] with y down.
import {LabelLayer, NEAR, RADIUS} from "./label_layer.js";
import {Overlay} from "./overlay.js";

const NEAREST = 1 / 8;  // raster pixels a screen pixel
const still = matchMedia("(prefers-reduced-motion: reduce)");

const flipped = ([x, y]) => [x, -y];

const geometry = (kind, xy) => {
  const at = xy.map(flipped);
  if (kind === "point") return new ol.geom.Point(at[0]);
  return kind === "line" ? new ol.geom.LineString(at) : new ol.geom.Polygon([[...at, at[0]]]);
};

const feature = label => {
  const made = new ol.Feature({geometry: geometry(label.kind, label.xy), label});
  if (label.id) made.setId(label.id);
  return made;
};

export class MapView {
  /** `stand` is where it stood before, if it did. */
  constructor(element, state, stand) {
    Object.assign(this, {element, width: state.width, height: state.height});
    this.overlay = new Overlay(state);
    this.labels = new ol.source.Vector();
    this.draft = new ol.source.Vector();
    this.place = new ol.source.Vector();
    const pixels = projection(state);
    const labels = new LabelLayer(state.classes, [this.place, this.labels, this.draft]);
    this.map = new ol.Map({
      target: element, controls: [], moveTolerance: 4,
      interactions: [new ol.interaction.MouseWheelZoom({duration: still.matches ? 0 : 150})],
      layers: [raster(state, pixels), this.overlay.layer, labels.layer],
      view: new ol.View(viewOf(state, pixels)),
    });
    this.view = this.map.getView();
    if (stand) this.stand = stand;
    else this.open(state.start);
  }

  open({x, y, factor}) {
    const [w, h] = this.map.getSize();
    if (this.width <= w * factor && this.height <= h * factor) return this.fit([0, 0, this.width, this.height], 0);
    this.view.setCenter(flipped([x, y]));
    this.view.setResolution(factor);
  }

  // where it looks

  get stand() {
    return {middle: this.middle, resolution: this.resolution};
  }

  set stand({middle, resolution}) {
    this.view.setCenter(flipped(middle));
    this.view.setResolution(resolution);
  }

  fit([left, top, right, bottom], duration = 350) {
    this.view.fit([left, -bottom, right, -top], {padding: [24, 24, 24, 24], duration: still.matches ? 0 : duration});
  }

  whole() {
    this.fit([0, 0, this.width, this.height]);
  }

  /** Move by screen pixels. */
  shift(dx, dy) {
    const resolution = this.view.getResolution();
    this.view.adjustCenter([dx * resolution, -dy * resolution]);
  }

  /** Make things larger by a factor about a place of the screen [x, y], or about the middle. */
  zoom(factor, pixel, duration = 0) {
    const anchor = pixel && this.map.getCoordinateFromPixel(pixel);
    if (!duration || still.matches) return this.view.adjustResolution(1 / factor, anchor);
    const {view} = this, within = [view.getMinResolution(), view.getMaxResolution(), view.getResolution() / factor];
    view.animate({resolution: within.sort((a, b) => a - b)[1], anchor, duration});
  }

  /** Raster pixels a screen pixel. */
  get resolution() {
    return this.view.getResolution();
  }

  get middle() {
    return flipped(this.view.getCenter());
  }

  /** The part of the raster that is on the screen. */
  get seen() {
    const [left, bottom, right, top] = this.view.calculateExtent(this.map.getSize());
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    return {
      left: inside(left, this.width), right: inside(right, this.width),
      top: inside(-top, this.height), bottom: inside(-bottom, this.height),
    };
  }

  /** Raster pixels a pixel of the map's tiles that are on the screen. */
  get factor() {
    return this.overlay.factor(this.resolution);
  }

  /** The place of the raster under a pointer event. */
  at(event) {
    return flipped(this.map.getEventCoordinate(event));
  }

  /** The place of the screen where a place of the raster is. */
  pixel(xy) {
    return this.map.getPixelFromCoordinate(flipped(xy)) ?? [0, 0];
  }

  has([x, y]) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height;
  }

  // what is on it

  show({add, remove}) {
    this.labels.removeFeatures(remove.map(label => this.labels.getFeatureById(label.id)));
    this.labels.addFeatures(add.map(feature));
  }

  /** Labels that are being drawn; none: nothing. */
  sketch(...labels) {
    this.draft.clear(true);
    this.draft.addFeatures(labels.map(feature));
  }

  /** Draw a box around a place {x, y, width, height}; null: none. */
  mark(place) {
    this.place.clear(true);
    if (!place) return;
    const {x, y, width, height} = place;
    const xy = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
    this.place.addFeature(feature({kind: "place", xy}));
  }

  /** The id of the point whose marker, with its number, is at a place. */
  marker(xy) {
    const id = this.resolution < NEAR ? this.label(xy, RADIUS, false) : null;
    return id !== null && this.labels.getFeatureById(id).get("label").kind === "point" ? id : null;
  }

  /** The id of the label at a place: within screen pixels of its edge, or else the smallest polygon around it. */
  label(xy, within, inside) {
    const [x, y] = flipped(xy), reach = within * this.resolution;
    let near = null, nearest = reach, around = null, smallest = Infinity;
    for (const each of this.labels.getFeaturesInExtent([x - reach, y - reach, x + reach, y + reach])) {
      const shape = each.getGeometry(), [px, py] = shape.getClosestPoint([x, y]), distance = Math.hypot(px - x, py - y);
      if (distance <= nearest) [near, nearest] = [each, distance];
      if (!inside || each.get("label").kind !== "polygon" || !shape.intersectsCoordinate([x, y])) continue;
      if (shape.getArea() < smallest) [around, smallest] = [each, shape.getArea()];
    }
    return (near ?? around)?.getId() ?? null;
  }
}

const projection = ({width, height}) =>
  new ol.proj.Projection({code: "raster", units: "pixels", extent: [0, -height, width, 0]});

const viewOf = ({width, height}, pixels) => ({
  projection: pixels, extent: pixels.getExtent(), enableRotation: false,
  constrainOnlyCenter: true, smoothExtentConstraint: false, smoothResolutionConstraint: false,
  // powers of two apart, or OpenLayers would not go as near
  minResolution: NEAREST, maxResolution: 2 ** Math.ceil(Math.log2(Math.max(width, height, 100) / 200)),
  center: [width / 2, -height / 2], resolution: Math.max(width, height) / 800,
});

const raster = ({factors}, pixels) => {
  const resolutions = [...factors].reverse(), extent = pixels.getExtent();
  const source = new ol.source.TileImage({
    tileGrid: new ol.tilegrid.TileGrid({extent, origin: [0, 0], resolutions, tileSize: 256}), projection: pixels,
    tileUrlFunction: ([z, col, row]) => `image/${resolutions[z]}/${col}/${row}`, transition: 100,
  });
  const layer = new ol.layer.Tile({source, extent});
  layer.on("prerender", ({context, frameState}) => {  // larger than life: pixels, not a blur
    context.imageSmoothingEnabled = frameState.viewState.resolution >= 1;
  });
  return layer;
};
