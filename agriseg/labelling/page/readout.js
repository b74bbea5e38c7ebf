// The scale bar, and where the pointer is.

const WIDEST = 140;  // screen pixels

/** The largest 1, 2 or 5 times a power of ten that is not more. */
const round = most => {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map(step => step * power).find(each => each <= most * 1.000001);
};

const length = metres => {
  if (metres >= 1000) return `${metres / 1000} km`;
  if (metres >= 1) return `${metres} m`;
  return metres >= 0.01 ? `${+(metres * 100).toPrecision(3)} cm` : `${+(metres * 1000).toPrecision(3)} mm`;
};

export class Readout {
  constructor(view, state, parts) {
    Object.assign(this, {view, state, parts});
    view.map.on("postrender", () => this.scale());
  }

  scale() {
    const gsd = this.state.gsd_m?.[0], unit = (gsd ?? 1) * this.view.resolution, size = round(WIDEST * unit);
    this.parts.bar.style.width = `${size / unit}px`;
    this.parts.length.textContent = gsd ? length(size) : `${size} px`;
  }

  /** Tell a place of the raster; null: none. */
  tell(xy) {
    const {state} = this;
    if (!xy || !this.view.has(xy)) return this.parts.place.replaceChildren();
    const told = [];
    if (state.lonlat) told.push(this.degrees(xy));
    else if (state.transform) told.push(this.projected(xy));
    told.push(`x ${Math.floor(xy[0])}, y ${Math.floor(xy[1])}`);
    this.parts.place.textContent = told.join(" · ");
  }

  degrees([x, y]) {
    const {width, height, lonlat: [a, b, c, d]} = this.state, u = x / width, v = y / height;
    const [lon, lat] = [0, 1].map(axis =>
      (1 - v) * ((1 - u) * a[axis] + u * b[axis]) + v * ((1 - u) * d[axis] + u * c[axis]));
    return `${Math.abs(lat).toFixed(6)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(6)}° ${lon < 0 ? "W" : "E"}`;
  }

  projected([x, y]) {
    const [a, b, c, d, e, f] = this.state.transform;
    return `${(a * x + b * y + c).toFixed(2)}, ${(d * x + e * y + f).toFixed(2)}`;
  }
}
