// A tile of the map: its picture, and the outlines of its classes.

export const SIDE = 256;
const GROUND = 0.3;  // opacity of the first class beside that of the others, so that the image is seen through it

/** A tile of the map as {picture, whole}: a canvas, and whether each of its pixels is known; null if it is not to be had. */
export const picture = async (address, ground, signal) => {
  const content = await answered(address, signal);
  if (!content) return null;
  const canvas = new OffscreenCanvas(SIDE, SIDE);
  if (!content.size) return {picture: canvas, whole: false};
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(await createImageBitmap(content), 0, 0);
  const pixels = context.getImageData(0, 0, SIDE, SIDE), whole = thinned(pixels.data, ground);
  context.putImageData(pixels, 0, 0);
  return {picture: canvas, whole};
};

/** The content of an answer, empty where nothing is known; null when it was stopped or refused, or the server is gone. */
const answered = async (address, signal) => {
  try {
    const answer = await fetch(address, {signal, cache: "no-store"});
    return answer.ok ? await answer.blob() : null;
  } catch {
    return null;
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
export const outlined = tile => {
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
