// Labels as they are drawn: in the colour of their class with a white halo, so that they are seen on soil and on leaves.
import {canvasLayer, edges} from "./canvas_layer.js";

export const NEAR = 2.5;  // raster pixels a screen pixel: nearer, a marker has room for the number of its class
export const RADIUS = 8;  // of such a marker, screen pixels
const MARGIN = 16;  // screen pixels beyond the edge from which a marker still reaches in
const DARK = "rgb(0 0 0 / 75%)", WHITE = "#fff", AREA = "#0b57d0", PLACE = "#ffd400";

/** Black or white, which is read better on a colour "#rrggbb". */
const inkOn = colour => {
  const [r, g, b] = [1, 3, 5].map(at => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : WHITE;
};

/** A marker of a point as a picture, `ratio` pixels a screen pixel. */
const marker = ({colour, number}, near, ratio) => {
  const radius = near ? RADIUS : 4.5, side = 2 * (radius + 3), picture = new OffscreenCanvas(side * ratio, side * ratio);
  const context = picture.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, side / 2 * ratio, side / 2 * ratio);
  for (const [size, fill] of [[radius + 2.5, DARK], [radius + 1.5, WHITE], [radius, colour]]) {
    context.fillStyle = fill;
    context.beginPath();
    context.arc(0, 0, size, 0, 2 * Math.PI);
    context.fill();
  }
  if (near) {
    Object.assign(context, {fillStyle: inkOn(colour), font: "700 11px system-ui, sans-serif"});
    Object.assign(context, {textAlign: "center", textBaseline: "middle"});
    context.fillText(String(number), 0, 1);
  }
  return {picture: picture.transferToImageBitmap(), side};
};

const path = (xy, screen, closed) => {
  const made = new Path2D();
  xy.forEach((each, index) => made[index ? "lineTo" : "moveTo"](...screen(each)));
  if (closed) made.closePath();
  return made;
};

export class LabelLayer {
  /** `shown` are sources of OpenLayers whose features have a label {kind, class, xy}; those of later ones lie above. */
  constructor(classes, shown) {
    this.classes = new Map(classes.map(({name, colour}, index) => [name, {colour, number: index + 1}]));
    this.shown = shown;
    this.markers = new Map();
    this.layer = canvasLayer((context, frame) => this.draw(context, frame));
    for (const source of shown) source.on("change", () => this.layer.changed());
  }

  draw(context, frame) {
    const {pixelRatio: ratio, viewState: {resolution}} = frame, [left, top, right, bottom] = edges(frame);
    const screen = ([x, y]) => [(x - left) / resolution, (y - top) / resolution], margin = MARGIN * resolution;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    Object.assign(context, {lineCap: "round", lineJoin: "round", imageSmoothingEnabled: false});
    for (const source of this.shown) {
      const seen = source.getFeaturesInExtent([left - margin, -bottom - margin, right + margin, -top + margin])
        .map(each => each.get("label"));
      for (const each of seen)
        if (each.kind !== "point") this.outline(context, each, path(each.xy, screen, each.kind !== "line"));
      for (const each of seen)
        if (each.kind === "point") this.mark(context, each, screen(each.xy[0]), resolution < NEAR, ratio);
    }
  }

  outline(context, {kind, class: name}, line) {
    const stroke = (strokeStyle, lineWidth, dash = []) => {
      Object.assign(context, {strokeStyle, lineWidth});
      context.setLineDash(dash);
      context.stroke(line);
    };
    const dashed = (first, second) => { stroke(first, 3.5); stroke(second, 3, [8, 8]); };
    if (kind === "area") return dashed(WHITE, AREA);
    if (kind === "place") return dashed("#000", PLACE);
    const {colour} = this.of(name), wide = kind === "line" ? 1.5 : 0;
    context.fillStyle = `${colour}30`;
    if (kind === "polygon") context.fill(line);
    stroke(DARK, 5 + wide);
    stroke(WHITE, 4 + wide);
    stroke(colour, 2.5 + wide);
  }

  mark(context, {class: name}, [x, y], near, ratio) {
    const key = `${name} ${near} ${ratio}`;
    if (!this.markers.has(key)) this.markers.set(key, marker(this.of(name), near, ratio));
    const {picture, side} = this.markers.get(key);
    const whole = value => Math.round((value - side / 2) * ratio) / ratio;  // a copy without smoothing is fast
    context.drawImage(picture, whole(x), whole(y), side, side);
  }

  of(name) {
    return this.classes.get(name) ?? {colour: "#888888", number: "?"};
  }
}
