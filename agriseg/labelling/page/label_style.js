// How labels look: in the colour of their class with a white halo, so that they are seen on soil and on leaves.
const {Circle, Fill, Stroke, Style, Text} = ol.style;

const NEAR = 2.5;  // raster pixels a screen pixel: nearer, a marker has room for the number of its class
const DARK = "rgb(0 0 0 / 75%)", WHITE = "#fff";

/** Black or white, which is read better on a colour "#rrggbb". */
export const inkOn = colour => {
  const [r, g, b] = [1, 3, 5].map(at => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : WHITE;
};

const disc = (radius, colour) => new Style({image: new Circle({radius, fill: new Fill({color: colour})}), zIndex: 3});

const marker = (colour, number, near) => {
  const radius = near ? 8 : 4.5;
  const styles = [disc(radius + 2.5, DARK), disc(radius + 1.5, WHITE), disc(radius, colour)];
  if (near) styles.push(new Style({zIndex: 3, text: new Text({
    text: String(number), font: "700 11px system-ui, sans-serif", fill: new Fill({color: inkOn(colour)}), offsetY: 1,
  })}));
  return styles;
};

const stroke = (color, width, lineDash) =>
  new Style({stroke: new Stroke({color, width, lineDash, lineCap: "round", lineJoin: "round"})});

const line = colour => [stroke(DARK, 7), stroke(WHITE, 5.5), stroke(colour, 3.5)];

const polygon = colour => [
  new Style({fill: new Fill({color: `${colour}30`})}), stroke(DARK, 5), stroke(WHITE, 4), stroke(colour, 2.5),
];

const dashed = (first, second) => [stroke(first, 3), stroke(second, 3, [8, 8])];

const AREA = dashed(WHITE, "#0b57d0");
export const PLACE = dashed("#000", "#ffd400");

export class LabelStyle {
  constructor(classes) {
    this.classes = new Map(classes.map(({name, colour}, index) => [name, {colour, number: index + 1}]));
    this.kept = new Map();
  }

  /** For a layer of OpenLayers: the style of a feature at a resolution. */
  of(feature, resolution) {
    return this.styles(feature.get("kind"), feature.get("class"), resolution < NEAR);
  }

  styles(kind, name, near) {
    const key = `${kind} ${near} ${name}`;
    if (!this.kept.has(key)) this.kept.set(key, this.make(kind, name, near));
    return this.kept.get(key);
  }

  make(kind, name, near) {
    if (kind === "area") return AREA;
    const {colour, number} = this.classes.get(name) ?? {colour: "#888888", number: "?"};
    if (kind === "point") return marker(colour, number, near);
    return kind === "line" ? line(colour) : polygon(colour);
  }
}
