// A layer of OpenLayers that is drawn by hand, on a canvas of its own.

/** `draw(context, frame, canvas)` draws on a canvas that is clear, as wide as the screen in its pixels. */
export const canvasLayer = draw => {
  const box = document.createElement("div"), canvas = document.createElement("canvas");
  box.className = "sheet";  // OpenLayers would draw the next layers into a canvas that is handed to it bare
  box.append(canvas);
  return new ol.layer.Layer({render: frame => {
    const [width, height] = frame.size.map(side => Math.round(side * frame.pixelRatio));
    Object.assign(canvas, {width, height});  // which clears it
    draw(canvas.getContext("2d"), frame, canvas);
    return box;
  }});
};

/** Left, top, right and bottom of what a frame shows, in raster pixels with y down. */
export const edges = ({size: [w, h], viewState: {center: [x, y], resolution}}) =>
  [x - w * resolution / 2, -y - h * resolution / 2, x + w * resolution / 2, -y + h * resolution / 2];
